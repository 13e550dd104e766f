"""Planning again with a fleet that has been planned with: what it kept saves time and changes nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster
from equipoise.core.plan import Condition, Conditions, Plan
from equipoise.core.request import Prefer
from equipoise.planning.fleet import Fleet
from equipoise.planning.planner import plan
from tests.planning.worlds import clusters, request_of

speeds = st.floats(0.25, 4.0)
conditions = st.builds(
    Condition, speed=speeds, busy_s=st.floats(0.0, 1.0), available=st.sampled_from([True, True, True, False])
)
requests = st.builds(
    request_of,
    st.integers(1, 200),
    st.sampled_from([Prefer.ACCURACY, Prefer.LATENCY]),
    deadline_s=st.floats(0.05, 20.0),
    min_accuracy=st.floats(0.0, 1.0),
)


@st.composite
def worlds_in_turn(draw: st.DrawFn, cluster: Cluster) -> list[Conditions]:
    """Conditions one after another, in each of which one processor or a few are another than before."""
    pids, now = Fleet.of(cluster).pids, {}
    turns: list[Conditions] = [{}]
    for _ in range(draw(st.integers(1, 4))):
        changed = draw(st.lists(st.sampled_from(pids), min_size=1, max_size=2))
        now = now | {pid: draw(conditions) for pid in changed}
        if any(now.get(pid, Condition()).available for pid in pids):
            turns.append(now)
    return turns


def same(one: Plan, other: Plan) -> bool:
    return msgspec.structs.replace(one, solve_s=0.0) == msgspec.structs.replace(other, solve_s=0.0)


@given(clusters(charges=False), requests, st.data())
@settings(max_examples=150)
def test_planning_again_says_what_planning_from_scratch_says(cluster, request, data):
    again = Fleet.of(cluster)
    for changed in data.draw(worlds_in_turn(cluster)):
        assert same(
            plan(request, again, changed, settle_s=0.0), plan(request, Fleet.of(cluster), changed, settle_s=0.0)
        )


@given(clusters(charges=True), requests, st.data())
@settings(max_examples=60)
def test_so_it_is_with_loads_batches_links_and_memory(cluster, request, data):
    again = Fleet.of(cluster)
    for changed in data.draw(worlds_in_turn(cluster)):
        assert same(
            plan(request, again, changed, settle_s=0.0), plan(request, Fleet.of(cluster), changed, settle_s=0.0)
        )


@given(clusters(charges=False), st.lists(requests, min_size=2, max_size=4))
def test_so_it_is_for_one_request_after_another(cluster, asked):
    again = Fleet.of(cluster)
    for request in asked:
        assert same(plan(request, again, settle_s=0.0), plan(request, Fleet.of(cluster), settle_s=0.0))
