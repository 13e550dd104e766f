"""Several requests on shared processors: schedules keep every promise, and come near what is possible."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equipoise.core.cluster import Cluster, Link, Node, Processor, ProcessorId, Profile, Variant
from equipoise.core.plan import Condition
from equipoise.core.queue import Queue, QueuedRequest, Schedule
from equipoise.core.request import Prefer, Requirement
from equipoise.planning import allotment
from equipoise.planning.admission import admit, admit_all
from equipoise.planning.allotment import allot
from equipoise.planning.predict import predict
from equipoise.planning.queue import earliest_deadline_first, find_schedule, in_order
from equipoise.planning.queue_exact import exact
from equipoise.planning.sharing import SharedFleet

TOLERANCE = 1 + 1e-9
FREE = Link()


def family(name: str, accuracy: dict[str, float], link: Link = FREE, **item_s: dict[str, float]) -> Cluster:
    """A family on nodes of one processor: seconds per item of each variant, at batch 1."""
    return Cluster(
        family=name,
        variants=tuple(Variant(name=v, accuracy=a) for v, a in accuracy.items()),
        nodes=tuple(
            Node(
                name=node,
                link=link,
                processors=(
                    Processor(
                        name="cpu", profiles=tuple(Profile(variant=v, latency_s={1: s}) for v, s in costs.items())
                    ),
                ),
            )
            for node, costs in item_s.items()
        ),
    )


def wanted(name: str, of: str, items: int, deadline_s: float, floor: float = 0.0, **more: object) -> QueuedRequest:
    requirement = Requirement(deadline_s=deadline_s, min_accuracy=floor, **more)
    return QueuedRequest(name=name, family=of, items=items, requirement=requirement)


BIRDS = family("birds", {"big": 0.9, "small": 0.6}, a={"big": 0.1, "small": 0.02}, b={"big": 0.2, "small": 0.05})
PLANTS = family("plants", {"large": 0.8, "tiny": 0.5}, a={"large": 0.1, "tiny": 0.02})
SHARED = SharedFleet.of([BIRDS, PLANTS])


def assert_promises_are_kept(schedule: Schedule, shared: SharedFleet) -> None:
    """By the cost model: every request finds processors busy with those before it."""
    busy_s: dict[ProcessorId, float] = {}
    for promise in schedule.promises:
        request, plan = promise.request, promise.plan
        conditions = {
            pid: Condition(available=state.available, speed=state.speed, busy_s=max(state.busy_s, busy_s.get(pid, 0.0)))
            for pid in shared.pids
            for state in [shared.conditions.get(pid, Condition())]
        }
        expected = predict(shared.fleets[request.family].cluster, plan.shares, conditions)
        for share in expected.shares:
            assert conditions[share.pid].available
            busy_s[share.pid] = max(busy_s.get(share.pid, 0.0), share.finish_s)
        assert expected.items == request.items
        assert expected.latency_s <= request.deadline_s * TOLERANCE
        assert expected.latency_s <= plan.latency_s * TOLERANCE
        assert expected.accuracy >= request.requirement.min_accuracy - 1e-9
        assert plan.accuracy == pytest.approx(expected.accuracy)


def assert_nothing_finishes_later(schedule: Schedule, shared: SharedFleet) -> None:
    """Played share by share, without the planner's code: links carry inputs in order while processors compute."""
    free_s: dict[ProcessorId, float] = {}
    sent_s: dict[str, float] = {}
    for promise in schedule.promises:
        cluster = shared.fleets[promise.request.family].cluster
        loaded: set[tuple[ProcessorId, str]] = set()
        for share in promise.plan.shares:
            link, profile = cluster.node(share.node).link, cluster.profile(share.pid, share.variant)
            state = shared.conditions.get(share.pid, Condition())
            sent_bytes = share.items * cluster.variant(share.variant).input_bytes
            sent_s[share.node] = sent_s.get(share.node, 0.0) + sent_bytes / link.bandwidth_bytes_per_s
            work_s = profile.run_s(share.items, share.batch)
            work_s += 0.0 if (share.pid, share.variant) in loaded else profile.load_s
            loaded.add((share.pid, share.variant))
            computed_s = free_s.get(share.pid, state.busy_s + link.latency_s) + work_s / state.speed
            last_call_s = profile.call_s(min(share.items, share.batch)) / state.speed
            arrived_s = link.latency_s + sent_s[share.node] + last_call_s if sent_bytes else 0.0
            free_s[share.pid] = max(computed_s, arrived_s)
            assert free_s[share.pid] <= share.finish_s * TOLERANCE
            assert free_s[share.pid] <= promise.request.deadline_s * TOLERANCE


def test_each_processor_does_the_work_with_the_earlier_deadline_first():
    schedule = find_schedule([wanted("late", "birds", 20, 4.0), wanted("soon", "plants", 20, 2.0)], SHARED).schedule

    assert [promise.request.name for promise in schedule.promises] == ["soon", "late"]
    soon, late = (promise.plan for promise in schedule.promises)
    assert soon.latency_s <= 2.0
    on_a = [share.finish_s for share in late.shares if share.node == "a"]
    assert all(finish_s > soon.latency_s for finish_s in on_a)


def test_a_request_leaves_time_for_one_that_would_starve_under_earliest_deadline_first():
    birds, plants = wanted("birds", "birds", 20, 2.0, 0.6), wanted("plants", "plants", 75, 2.5, 0.5)

    assert earliest_deadline_first([birds, plants], SHARED) is None  # birds take all of the only processor for plants
    assert find_schedule([birds, plants], SHARED).schedule is not None


def test_slack_goes_to_accuracy_up_to_the_bound():
    schedule = find_schedule([wanted("one", "birds", 40, 5.0), wanted("two", "plants", 40, 5.0)], SHARED).schedule

    assert schedule.accuracy <= schedule.bound
    assert schedule.gap < 0.02


def test_who_prefers_latency_keeps_to_its_floor_and_leaves_the_rest_to_others():
    modest = wanted("modest", "birds", 20, 10.0, 0.6, prefer=Prefer.LATENCY)

    schedule = find_schedule([modest, wanted("eager", "plants", 60, 6.4)], SHARED).schedule

    assert schedule.accuracy == pytest.approx(0.8)  # of the eager one
    assert schedule.promises[1].plan.latency_s < 10.0


def test_a_processor_that_is_not_available_or_busy_is_planned_around():
    conditions = {ProcessorId("a", "cpu"): Condition(available=False), ProcessorId("b", "cpu"): Condition(busy_s=1.0)}
    shared = SharedFleet.of([BIRDS, PLANTS], conditions)

    schedule = find_schedule([wanted("one", "birds", 10, 3.0)], shared).schedule

    assert {share.node for share in schedule.promises[0].plan.shares} == {"b"}
    assert schedule.promises[0].plan.latency_s > 1.0
    assert find_schedule([wanted("two", "plants", 1, 99.0)], shared).schedule is None


def test_inputs_of_a_later_request_arrive_after_those_of_earlier_ones():
    link = Link(latency_s=0.01, bandwidth_bytes_per_s=1000.0)
    variants = (Variant(name="v", accuracy=0.7, input_bytes=100),)
    node = Node(
        name="a", link=link, processors=(Processor(name="cpu", profiles=(Profile(variant="v", latency_s={1: 0.001}),)),)
    )
    shared = SharedFleet.of([Cluster(family="f", variants=variants, nodes=(node,))])

    one, two = wanted("one", "f", 10, 1.5), wanted("two", "f", 10, 2.5)
    schedule = find_schedule([one, two], shared).schedule

    assert schedule.promises[0].plan.latency_s == pytest.approx(1.011)
    assert schedule.promises[1].plan.latency_s == pytest.approx(2.011)  # 20 x 0.1 s on the link, then a call
    assert find_schedule([one, wanted("two", "f", 10, 2.0)], shared).schedule is None


def test_memory_of_a_node_holds_what_its_processors_run_for_different_requests():
    def cluster(name: str, memory_bytes: int) -> Cluster:
        profile = Profile(variant="v", latency_s={1: 0.1}, memory_bytes=60)
        processor = Processor(name=f"for-{name}", profiles=(profile,))
        node = Node(name="a", processors=(processor,), memory_bytes=memory_bytes)
        return Cluster(family=name, variants=(Variant(name="v", accuracy=0.7),), nodes=(node,))

    both = [wanted("one", "f", 5, 1.0), wanted("two", "g", 5, 1.0)]

    assert find_schedule(both, SharedFleet.of([cluster("f", 120), cluster("g", 120)])).schedule is not None
    assert find_schedule(both, SharedFleet.of([cluster("f", 119), cluster("g", 119)])).schedule is None


def test_without_a_solver_a_schedule_is_found_but_nothing_is_proven(monkeypatch):
    monkeypatch.setattr("equipoise.planning.queue.solver_is_there", lambda: False)
    both = [wanted("one", "birds", 30, 2.0, 0.6), wanted("two", "plants", 20, 3.0, 0.5)]

    outcome = find_schedule(both, SHARED)

    assert_promises_are_kept(outcome.schedule, SHARED)
    assert outcome.schedule.bound is None
    assert not find_schedule([*both, wanted("three", "plants", 1000, 3.0)], SHARED).impossible


def test_the_exact_solver_settles_what_the_fast_method_misses(monkeypatch):
    both = [wanted("one", "birds", 30, 2.0, 0.6), wanted("two", "plants", 20, 3.0, 0.5)]
    for way in ("_by_allotment", "_otherwise"):
        monkeypatch.setattr(f"equipoise.planning.queue._Search.{way}", lambda *_: None)

    assert find_schedule(both, SHARED).schedule is None
    settled = find_schedule(both, SHARED, settle_s=10.0).schedule
    assert_promises_are_kept(settled, SHARED)
    assert settled.gap < 0.02


def test_the_exact_solver_proves_what_whole_items_make_impossible():
    half_an_item = wanted("one", "plants", 1, 0.08, 0.65)  # half of it on each variant would do

    assert not find_schedule([half_an_item], SHARED).impossible
    assert find_schedule([half_an_item], SHARED, settle_s=10.0).impossible


def test_no_requests_need_no_plan():
    assert find_schedule([], SHARED).schedule == Schedule()


# Admission


def test_a_yes_keeps_earlier_promises_and_a_no_changes_nothing():
    first = admit(Schedule(), wanted("first", "birds", 40, 3.0, 0.6), SHARED)
    second = admit(first.schedule, wanted("second", "plants", 20, 3.0, 0.5), SHARED)
    third = admit(second.schedule, wanted("third", "plants", 1000, 3.0, 0.5), SHARED)

    assert (first.admitted, second.admitted, third.admitted) == (True, True, False)
    assert [request.name for request in second.schedule.requests] == ["first", "second"]
    assert third.schedule is second.schedule
    assert third.proven


def test_a_no_says_whether_the_request_or_the_promises_are_to_blame():
    hopeless = admit(Schedule(), wanted("hopeless", "plants", 1000, 1.0), SHARED)
    standing = admit(Schedule(), wanted("first", "plants", 90, 2.0), SHARED).schedule
    crowded = admit(standing, wanted("crowded", "plants", 90, 2.0), SHARED)

    assert hopeless.reason == "could not be kept even if nothing else were promised"
    assert crowded.reason == "no schedule keeps it together with what is promised already"


def test_a_counteroffer_would_be_admitted_and_a_little_less_would_not():
    standing = admit(Schedule(), wanted("first", "plants", 90, 2.0), SHARED).schedule

    offer = admit(standing, wanted("second", "plants", 60, 2.0, 0.7), SHARED).instead

    assert admit(standing, wanted("second", "plants", 60, offer.deadline_s, 0.7), SHARED).admitted
    assert not admit(standing, wanted("second", "plants", 60, offer.deadline_s * 0.99, 0.7), SHARED).admitted
    assert offer.min_accuracy is None  # at no floor is there time for 60 more


def test_a_floor_that_would_be_admitted_is_offered_too():
    offer = admit(Schedule(), wanted("one", "plants", 20, 1.0, 0.7), SHARED).instead

    assert admit(Schedule(), wanted("one", "plants", 20, 1.0, offer.min_accuracy), SHARED).admitted
    assert not admit(Schedule(), wanted("one", "plants", 20, 1.0, offer.min_accuracy + 0.02), SHARED).admitted


def test_a_name_is_promised_once():
    standing = admit(Schedule(), wanted("first", "plants", 10, 2.0), SHARED).schedule

    with pytest.raises(ValueError, match="'first' has been promised already"):
        admit(standing, wanted("first", "birds", 10, 2.0), SHARED)
    with pytest.raises(ValueError, match="unknown family 'stones'; known: birds, plants"):
        admit(standing, wanted("second", "stones", 10, 2.0), SHARED)


def test_a_queue_is_asked_for_in_its_order():
    requests = (
        wanted("greedy", "plants", 90, 2.0),
        wanted("late", "plants", 90, 2.0),
        wanted("other", "birds", 5, 9.0),
    )

    answers = admit_all(Queue(clusters=(BIRDS, PLANTS), requests=requests), counteroffer=False)

    assert [answer.admitted for answer in answers] == [True, False, True]


# The nouns


def test_a_queue_refuses_what_contradicts_itself():
    slower = family("plants", {"v": 0.5}, Link(latency_s=1.0), a={"v": 0.1})
    request = wanted("one", "birds", 1, 1.0)

    with pytest.raises(ValueError, match="'a' has another link or memory_bytes in family 'plants' than in 'birds'"):
        Queue(clusters=(BIRDS, slower), requests=())
    with pytest.raises(ValueError, match="two clusters describe family 'birds'"):
        Queue(clusters=(BIRDS, BIRDS), requests=())
    with pytest.raises(ValueError, match="has none at all"):
        Queue(clusters=(), requests=())
    with pytest.raises(ValueError, match="duplicate request: 'one'"):
        Queue(clusters=(BIRDS,), requests=(request, request))
    with pytest.raises(ValueError, match="of family 'stones', which no cluster describes"):
        Queue(clusters=(BIRDS,), requests=(wanted("one", "stones", 1, 1.0),))


def test_a_queued_request_has_items_and_a_time():
    with pytest.raises(ValueError, match="must be from 1 to"):
        wanted("one", "birds", 0, 1.0)
    with pytest.raises(ValueError, match="'one' needs a deadline_s or a throughput_per_s"):
        QueuedRequest(name="one", family="birds", items=1, requirement=Requirement(prefer=Prefer.LATENCY))
    by_rate = QueuedRequest(name="one", family="birds", items=30, requirement=Requirement(throughput_per_s=10.0))
    assert by_rate.deadline_s == 3.0


# What must hold for every queue


@st.composite
def shared_fleets(draw: st.DrawFn, *, charges: bool = False) -> SharedFleet:
    """Two families on the same nodes; with `charges` also loads, batches, links, and changed conditions."""
    seconds = st.floats(1e-2, 1.0)
    nodes = draw(st.integers(1, 3))
    links = [
        Link(latency_s=draw(st.floats(0.0, 0.1)), bandwidth_bytes_per_s=draw(st.floats(50.0, 1e4))) if charges else FREE
        for _ in range(nodes)
    ]
    processors = ("cpu", "gpu") if charges and draw(st.booleans()) else ("cpu",)

    def profile(v: int) -> Profile:
        one_s = draw(seconds)
        batches = {1: one_s, 4: one_s * draw(st.floats(1.0, 4.0))} if charges and draw(st.booleans()) else {1: one_s}
        return Profile(variant=f"v{v}", latency_s=batches, load_s=draw(st.floats(0.0, 0.3)) if charges else 0.0)

    def processor(name: str, count: int) -> Processor:
        variants = sorted(draw(st.sets(st.integers(0, count - 1), min_size=1)))
        return Processor(name=name, profiles=tuple(profile(v) for v in variants))

    def cluster(name: str) -> Cluster:
        count = draw(st.integers(1, 3))
        return Cluster(
            family=name,
            variants=tuple(
                Variant(
                    name=f"v{v}",
                    accuracy=draw(st.floats(0.1, 1.0)),
                    input_bytes=draw(st.integers(0, 50)) if charges else 0,
                )
                for v in range(count)
            ),
            nodes=tuple(
                Node(name=f"n{n}", link=links[n], processors=tuple(processor(p, count) for p in processors))
                for n in range(nodes)
            ),
        )

    state = st.builds(Condition, speed=st.floats(0.5, 2.0), busy_s=st.floats(0.0, 1.0))
    conditions = {ProcessorId("n0", "cpu"): draw(state)} if charges else {}
    return SharedFleet.of([cluster("f"), cluster("g")], conditions)


def asked() -> st.SearchStrategy[list[QueuedRequest]]:
    """Up to five requests with names of their own."""
    one = st.tuples(st.sampled_from("fg"), st.integers(1, 40), st.floats(0.05, 20.0), st.floats(0.0, 0.9))
    return st.lists(one, min_size=1, max_size=5).map(
        lambda drawn: [wanted(f"r{k}", *figures) for k, figures in enumerate(drawn)]
    )


@given(shared_fleets(charges=True), asked())
def test_a_yes_is_never_broken_by_later_ones(shared, requests):
    standing = Schedule()
    promised: list[str] = []
    for request in requests:
        answer = admit(standing, request, shared, counteroffer=False)
        promised += [request.name] if answer.admitted else []
        standing = answer.schedule

        assert sorted(promise.name for promise in standing.requests) == sorted(promised)
        assert_promises_are_kept(standing, shared)
        assert_nothing_finishes_later(standing, shared)


@given(shared_fleets(charges=True), asked())
def test_no_schedule_beats_its_bound_and_all_agree_on_what_is_impossible(shared, requests):
    outcome = find_schedule(requests, shared)
    baselines = [earliest_deadline_first(requests, shared, prefer=prefer) for prefer in (None, Prefer.LATENCY)]

    for found in (outcome.schedule, *baselines):
        if found is not None:
            assert not outcome.impossible
            assert_promises_are_kept(found, shared)
            assert outcome.schedule is not None
            assert found.accuracy <= outcome.schedule.bound + 1e-6


@given(shared_fleets(), asked())
def test_the_exact_solver_never_finds_more_than_the_bound_nor_much_more_than_the_schedule(shared, requests):
    outcome = find_schedule(requests, shared)
    demand = shared.demand(in_order(requests))
    answer = exact(demand, time_limit_s=10.0)

    fluid = allot(demand)
    assert (fluid is None) == outcome.impossible
    if answer.found is None:
        assert outcome.schedule is None
        return
    assert answer.found <= fluid.bound + 1e-6
    if outcome.schedule is not None:
        items = sum(request.items for request in requests)
        assert outcome.schedule.accuracy * items <= answer.bound * (1 + 1e-6)


@given(shared_fleets(charges=True), asked(), st.randoms(use_true_random=False))
def test_the_order_of_asking_for_a_set_of_requests_changes_nothing(shared, requests, random):
    shuffled = list(requests)
    random.shuffle(shuffled)

    assert find_schedule(shuffled, shared) == find_schedule(requests, shared)


def test_random_queues_come_within_half_a_percent_of_the_exact_solver():
    rng = np.random.default_rng(5)
    shortfalls = []
    while len(shortfalls) < 12:
        shared, requests = random_queue(rng)
        answer = exact(shared.demand(in_order(requests)), time_limit_s=10.0)
        if answer.found is None:
            continue
        schedule = find_schedule(requests, shared).schedule
        assert schedule is not None
        items = sum(request.items for request in requests)
        shortfalls.append(1 - schedule.accuracy * items / answer.found)

    assert np.mean(shortfalls) < 0.005
    assert max(shortfalls) < 0.03


def random_queue(rng: np.random.Generator) -> tuple[SharedFleet, list[QueuedRequest]]:
    """Two families of four variants on three unequal nodes, and three requests."""
    speeds = rng.lognormal(0, 0.7, 3)

    def cluster(name: str) -> Cluster:
        accuracy, cost_s = np.sort(rng.uniform(0.3, 0.9, 4)), 0.02 * np.sort(rng.lognormal(0, 1, 4))
        costs = {
            f"n{n}": {f"v{v}": float(s) for v, s in enumerate(cost_s / speed * rng.lognormal(0, 0.3, 4))}
            for n, speed in enumerate(speeds)
        }
        return family(name, {f"v{v}": float(a) for v, a in enumerate(accuracy)}, **costs)

    shared = SharedFleet.of([cluster("f"), cluster("g")])
    requests = [
        wanted(f"r{k}", "fg"[k % 2], int(rng.choice([50, 100, 200])), float(rng.uniform(1, 6)), 0.4) for k in range(3)
    ]
    return shared, requests


def test_the_bound_needs_the_solver_and_says_so(monkeypatch):
    demand = SHARED.demand([wanted("one", "birds", 1, 1.0)])
    monkeypatch.setattr(allotment, "find_spec", lambda name: None)

    with pytest.raises(allotment.PlanningError, match="pip install highspy"):
        allot(demand)
    with pytest.raises(allotment.PlanningError, match="pip install highspy"):
        exact(demand)


def test_proven_impossible_is_told_from_not_found():
    assert exact(SHARED.demand([wanted("one", "plants", 1000, 1.0)])).bound == -math.inf
    assert not admit(Schedule(), wanted("one", "plants", 1000, 1.0), SHARED, counteroffer=False).instead
    assert admit(Schedule(), wanted("one", "plants", 1000, 1.0), SHARED).instead is not None
