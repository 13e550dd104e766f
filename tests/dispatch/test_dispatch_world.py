"""Whole requests in virtual time: simulated boards, the real planner, the real dispatcher."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from world import ACCURACIES, World, cluster_of, pid, request_of

from equipoise.core.cluster import Cluster, Link
from equipoise.core.plan import Conditions, Plan
from equipoise.core.request import Prefer, Request, WhenLate
from equipoise.dispatch.commands import Outcome, SendTask
from equipoise.dispatch.settings import Settings
from equipoise.planning.planner import plan as make_plan

BOARDS = cluster_of(a=0.002, b=0.004, c=0.008)
RATES = {"a": 4.0, "b": 2.0, "c": 1.0}  # relative


def with_noise(world: World, noise: float) -> World:
    for board in world.boards.values():
        board.noise = noise
    return world


# --- nothing goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [Link(), Link(latency_s=0.005)])
def test_without_faults_a_request_takes_as_long_as_its_plan_says(link: Link):
    world = World(cluster_of(a=0.002, b=0.004, c=0.008, link=link), request_of(500))

    assert world.run().outcome is Outcome.ANSWERED

    assert world.now_s == pytest.approx(world.plans[0].latency_s, rel=0.03)
    assert world.accuracy >= 0.65 - 1e-6
    assert world.dispatcher.progress(world.now_s).dropped == 0


@pytest.mark.parametrize("seed", range(5))
def test_results_that_scatter_cost_little_time_and_no_promise(seed: int):
    world = with_noise(
        World(BOARDS, request_of(1000, deadline_s=4.0, prefer=Prefer.ACCURACY), seed=seed, checked=False), 0.1
    )

    world.run()

    assert world.now_s <= 4.0 * 1.01
    assert world.accuracy == pytest.approx(world.plans[0].accuracy, abs=0.01)


def test_variants_that_are_costly_to_load_are_not_loaded_in_turns():
    cluster = cluster_of(a=0.002, b=0.004, c=0.008, load_s=0.2)
    world = with_noise(World(cluster, request_of(1000, deadline_s=5.0, prefer=Prefer.ACCURACY)), 0.1)

    world.run()

    assert sum(board.loads for board in world.boards.values()) <= 3 * len(ACCURACIES)
    switches = sum(
        before.variant != after.variant
        for node in "abc"
        for before, after in _neighbours([task for task in world.sent.values() if task.pid.node == node])
    )
    assert switches <= 12


def _neighbours(tasks: list[SendTask]) -> list[tuple[SendTask, SendTask]]:
    return [(tasks[n], tasks[n + 1]) for n in range(len(tasks) - 1)]


def test_work_stealing_without_any_plan_of_shares_balances_itself():
    world = World(BOARDS, request_of(700), strategy="work-stealing", settings=Settings(pooled=True, replan=False))

    assert world.run().outcome is Outcome.ANSWERED

    assert world.now_s == pytest.approx(world.plans[0].latency_s, rel=0.05)
    assert world.items_by_node["a"] > world.items_by_node["b"] > world.items_by_node["c"]


def test_a_hundred_thousand_items_cost_a_few_thousand_events():
    world = World(BOARDS, request_of(100_000, deadline_s=400.0, prefer=Prefer.ACCURACY), checked=False)

    world.run()

    assert world.events < 5000
    assert len(world.dispatcher._flight.given_up) == 0


# --- links are slow --------------------------------------------------------------------------------------------------


def behind(link: Link) -> Cluster:
    """Three boards, one of them with a second processor, behind such links; an item is 1000 bytes."""
    cluster = with_inputs(cluster_of(batch=1, a=0.004, b=0.006, c=0.008, link=link))
    second = msgspec.structs.replace(cluster.nodes[1].processors[0], name="gpu")
    first, *others = cluster.nodes
    shared = msgspec.structs.replace(first, processors=(*first.processors, second))
    return msgspec.structs.replace(cluster, nodes=(shared, *others))


def with_inputs(cluster: Cluster) -> Cluster:
    variants = tuple(msgspec.structs.replace(variant, input_bytes=1000) for variant in cluster.variants)
    return msgspec.structs.replace(cluster, variants=variants)


SLOW_LINKS = [
    Link(latency_s=0.05),
    Link(bandwidth_bytes_per_s=60_000),
    Link(bandwidth_bytes_per_s=20_000),
    Link(latency_s=0.05, bandwidth_bytes_per_s=20_000),
]


@pytest.mark.parametrize("link", SLOW_LINKS)
def test_waiting_for_a_slow_link_is_part_of_the_plan_and_costs_neither_accuracy_nor_time(link: Link):
    world = World(behind(link), request_of(600, deadline_s=60.0, prefer=Prefer.ACCURACY))

    assert world.run().outcome is Outcome.ANSWERED

    assert world.accuracy == pytest.approx(world.plans[0].accuracy)
    assert world.now_s <= 1.05 * world.plans[0].latency_s


@pytest.mark.parametrize("link", SLOW_LINKS)
def test_waiting_for_a_link_is_no_reason_to_plan_anew(link: Link):
    world = World(behind(link), request_of(600, deadline_s=60.0, prefer=Prefer.ACCURACY))

    world.run()

    assert world.dispatcher.progress(world.now_s).replanned <= 10


def test_a_plan_that_is_worse_than_going_on_is_not_followed(monkeypatch: pytest.MonkeyPatch):
    request = request_of(1000, deadline_s=60.0, prefer=Prefer.ACCURACY)
    hasty = request_of(1000, deadline_s=60.0, prefer=Prefer.LATENCY).requirement
    world = World(BOARDS, request)
    world.slow_down("a", 0.5, 0.9)

    def in_a_hurry(rest: Request, cluster: Cluster, conditions: Conditions, strategy: str) -> Plan:
        asked = rest if rest.items == request.items else msgspec.structs.replace(rest, requirement=hasty)
        return msgspec.structs.replace(make_plan(asked, cluster, conditions, strategy), prefer=Prefer.ACCURACY)

    monkeypatch.setattr("world.plan_request", in_a_hurry)

    world.run()

    assert len(world.plans) > 1
    assert world.accuracy == pytest.approx(world.plans[0].accuracy)


def test_waiting_for_a_link_is_not_taken_for_a_slow_processor():
    world = World(behind(Link(bandwidth_bytes_per_s=20_000)), request_of(300))

    world.run()

    speeds = [processor.speed for processor in world.dispatcher.progress(world.now_s).processors]
    assert speeds == pytest.approx([1.0] * 4)


# --- boards slow down ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "speed"), [("a", 0.5), ("b", 0.5), ("a", 0.25), ("c", 2.0)])
def test_a_change_of_speed_costs_hardly_more_than_if_it_had_been_foreseen(node: str, speed: float):
    at_s = 0.5
    world = World(BOARDS, request_of(1000))
    world.slow_down(node, at_s, speed)

    world.run()

    before = sum(RATES.values())
    after = before + (speed - 1) * RATES[node]
    foreseen_s = at_s + (world.plans[0].latency_s - at_s) * before / after
    assert world.now_s == pytest.approx(foreseen_s, rel=0.03)
    assert world.accuracy >= 0.65 - 1e-6


def test_a_deadline_with_slack_is_kept_at_the_cost_of_accuracy():
    world = World(BOARDS, request_of(1000, deadline_s=4.0, prefer=Prefer.ACCURACY))
    world.slow_down("a", 0.5, 0.5)

    world.run()

    assert world.now_s <= 4.0
    assert 0.65 <= world.accuracy < world.plans[0].accuracy


def test_slack_that_comes_up_is_turned_into_accuracy():
    world = World(BOARDS, request_of(1000, deadline_s=3.0, prefer=Prefer.ACCURACY))
    world.slow_down("a", 0.5, 2.0)

    world.run()

    assert world.now_s <= 3.0
    assert world.accuracy > world.plans[0].accuracy + 0.02


def test_a_strategy_that_does_not_replan_keeps_its_shares_whatever_happens():
    world = World(
        BOARDS, request_of(1000), strategy="proportional", settings=Settings(replan=False, duplicate_stragglers=False)
    )
    world.slow_down("a", 0.2, 0.5)

    world.run()

    assert len(world.plans) == 1
    assert world.now_s > 1.5 * world.plans[0].latency_s


def planned_at(world: World) -> list[float]:
    """When the dispatcher will have asked for plans."""
    at_s: list[float] = []
    world.plan_delay_s = lambda: at_s.append(world.now_s) or 0.0
    return at_s


def test_drift_is_planned_for_after_a_pause_that_grows_with_the_number_of_processors():
    request = request_of(1000, deadline_s=4.0, prefer=Prefer.ACCURACY)
    world = with_noise(World(BOARDS, request, settings=Settings(plan_pause_s=0.1)), 0.1)
    at_s = planned_at(world)

    world.run()

    assert len(at_s) > 2
    assert all(after_s - before_s > 3 * 0.1 - 1e-9 for before_s, after_s in pairwise(at_s))


def test_a_loss_is_planned_for_at_once():
    request = request_of(1000, deadline_s=8.0, prefer=Prefer.ACCURACY)
    world = with_noise(World(BOARDS, request, settings=Settings(plan_pause_s=100.0)), 0.1)
    world.kill("b", 0.5)
    at_s = planned_at(world)

    world.run()

    assert at_s == [0.0, 0.5]


@pytest.mark.parametrize("look_pause_s", [0.0, 0.01])
def test_stragglers_are_done_once_more_whether_looked_for_all_the_time_or_now_and_then(look_pause_s: float):
    world = World(BOARDS, request_of(300), settings=Settings(look_pause_s=look_pause_s))
    world.freeze("c", 0.6, 60.0)

    assert world.run().outcome is Outcome.ANSWERED

    assert world.dispatcher.progress(world.now_s).duplicated > 0
    assert world.now_s < 2 * world.plans[0].latency_s


# --- boards go and come ----------------------------------------------------------------------------------------------


def test_a_killed_board_costs_no_item():
    world = World(BOARDS, request_of(1000))
    world.kill("a", 0.5, noticed_after_s=0.2)

    assert world.run().outcome is Outcome.ANSWERED

    assert set(world.answered) == set(range(1000))
    assert world.dispatcher.progress(world.now_s).resent > 0


def test_asks_that_fail_before_the_loss_is_known_cost_no_item():
    world = World(BOARDS, request_of(1000))
    world.kill("a", 0.5, noticed_after_s=1.0)
    world.asks_fail_when_dead = True

    assert world.run().outcome is Outcome.ANSWERED


def test_a_frozen_board_is_suspected_and_its_late_answers_still_count_or_are_dropped():
    world = World(BOARDS, request_of(1000))
    world.freeze("a", 0.5, for_s=1.5)

    assert world.run().outcome is Outcome.ANSWERED

    assert world.items_by_node["a"] > 200  # it came back to work
    assert world.dispatcher.progress(world.now_s).resent > 0


def test_a_board_that_freezes_for_good_is_worked_around():
    world = World(BOARDS, request_of(1000))
    world.freeze("a", 0.5, for_s=math.inf)

    assert world.run().outcome is Outcome.ANSWERED


def test_a_board_that_returns_is_used_again():
    world = World(BOARDS, request_of(1000))
    world.kill("a", 0.3)
    world.revive("a", 0.8)

    world.run()

    tasks_after = [task for task in world.sent.values() if task.pid.node == "a"]
    assert world.items_by_node["a"] > 300
    assert len(tasks_after) > 10


def test_when_all_are_lost_the_request_waits_for_one_to_return():
    world = World(BOARDS, request_of(300))
    for node in "abc":
        world.kill(node, 0.3)
    world.revive("c", 3.0)

    assert world.run().outcome is Outcome.ANSWERED


def test_when_all_are_lost_for_good_the_request_is_abandoned():
    world = World(BOARDS, request_of(300))
    for node in "abc":
        world.kill(node, 0.3)

    finish = world.run()

    assert finish.outcome is Outcome.ABANDONED
    assert finish.unanswered
    assert "killed by the test" in finish.reason


def test_a_board_that_slows_down_at_the_very_end_does_not_hold_up_the_request():
    world = World(BOARDS, request_of(1000))
    world.slow_down("c", 2.2, 0.01)

    world.run()

    assert world.dispatcher.progress(world.now_s).duplicated > 0
    assert world.now_s < 1.2 * world.plans[0].latency_s


@pytest.mark.parametrize("part", [0.5, 0.7, 0.8, 0.9, 0.95, 0.98])
@pytest.mark.parametrize("node", ["a", "b", "c"])
@pytest.mark.parametrize("speed", [0.0, 0.01])
def test_a_board_that_freezes_is_noticed_before_its_task_ends(node: str, part: float, speed: float):
    undisturbed_s = _ended_s(World(BOARDS, request_of(1000)))
    world = World(BOARDS, request_of(1000))
    world.slow_down(node, part * undisturbed_s, speed)

    world.run()

    without = sum(RATES.values()) / (sum(RATES.values()) - RATES[node])
    foreseen_s = undisturbed_s * (part + (1 - part) * without)
    assert world.now_s < foreseen_s + 0.05 * undisturbed_s


@pytest.mark.parametrize("part", [0.5, 0.7, 0.8, 0.85, 0.9])
def test_with_slack_a_board_that_freezes_breaks_no_promise(part: float):
    world = World(BOARDS, request_of(1000, deadline_s=4.0, prefer=Prefer.ACCURACY))
    world.slow_down("b", part * 4.0, 0.0)

    world.run()

    assert world.now_s <= 4.0
    assert world.accuracy >= 0.65


def _ended_s(world: World) -> float:
    world.run()
    return world.now_s


# --- late ------------------------------------------------------------------------------------------------------------


def test_keeping_the_floor_runs_late_but_answers_everything():
    world = World(BOARDS, request_of(1000, deadline_s=3.0, prefer=Prefer.ACCURACY))
    world.kill("a", 1.0)

    assert world.run().outcome is Outcome.ANSWERED

    assert world.now_s > 3.0
    assert world.accuracy >= 0.65 - 1e-6


def test_keeping_the_deadline_gives_up_accuracy_first():
    world = World(BOARDS, request_of(1000, deadline_s=3.0, when_late=WhenLate.KEEP_DEADLINE))
    world.slow_down("a", 1.0, 0.3)

    assert world.run().outcome is Outcome.ANSWERED

    assert world.now_s <= 3.0
    assert world.accuracy < 0.65


@pytest.mark.parametrize("policy", [WhenLate.KEEP_DEADLINE, WhenLate.STOP])
def test_at_the_deadline_what_is_missing_is_given_up(policy: WhenLate):
    world = World(BOARDS, request_of(1000, deadline_s=2.5, when_late=policy))
    world.kill("a", 0.3)

    finish = world.run()

    assert finish.outcome is Outcome.STOPPED
    assert world.now_s == pytest.approx(2.5)
    assert 0 < len(finish.unanswered) < 700


# --- tasks fail ------------------------------------------------------------------------------------------------------


def test_a_variant_that_does_not_fit_a_board_is_not_used_there():
    world = World(BOARDS, request_of(1000))
    world.boards[pid("a")].fails = lambda task: "out of memory" if task.variant == "medium" else None

    assert world.run().outcome is Outcome.ANSWERED

    assert (pid("a"), "medium") not in world.answered.values()
    assert world.accuracy >= 0.65 - 1e-6


@pytest.mark.parametrize("poison", [{17}, {17, 400}, {0, 1, 2}, {998, 999}])
def test_items_that_make_every_task_fail_are_found_and_nothing_else_is_lost(poison: set[int]):
    world = World(BOARDS, request_of(1000))
    for board in world.boards.values():
        board.fails = lambda task: "bad pixel" if poison & set(task.items) else None

    finish = world.run()

    assert finish.outcome is Outcome.ABANDONED
    assert set(finish.unanswered) == poison
    assert "bad pixel" in finish.reason


def test_when_nothing_works_anywhere_it_ends_with_the_reason():
    world = World(BOARDS, request_of(200))
    for board in world.boards.values():
        board.fails = lambda task: "no such engine"

    finish = world.run()

    assert (finish.outcome, len(finish.unanswered)) == (Outcome.ABANDONED, 200)
    assert "no such engine" in finish.reason
    assert len(world.sent) < 200


def test_on_a_single_board_an_accident_is_repaired_and_a_bad_item_found():
    failures = iter(["hiccup"])
    world = World(cluster_of(only=0.002), request_of(100))
    world.boards[pid("only")].fails = lambda task: "bad pixel" if 7 in task.items else next(failures, None)

    assert world.run().unanswered == (7,)


# --- plans come late, or never ---------------------------------------------------------------------------------------


def test_plans_that_come_late_delay_only_the_start():
    world = World(BOARDS, request_of(1000), plan_delay_s=lambda: 0.3)
    world.slow_down("a", 0.8, 0.5)

    assert world.run().outcome is Outcome.ANSWERED

    assert world.now_s < 0.3 + 1.5 * world.plans[0].latency_s


def test_plans_that_get_lost_are_asked_for_again():
    delays = iter([0.0, math.inf, math.inf])
    world = World(BOARDS, request_of(1000), plan_delay_s=lambda: next(delays, 0.0))
    world.kill("a", 0.5)

    assert world.run().outcome is Outcome.ANSWERED


# --- everything at once ----------------------------------------------------------------------------------------------

FAULTS = st.lists(
    st.tuples(st.sampled_from(["slow", "freeze", "kill", "blip", "fail"]), st.sampled_from("abc"), st.floats(0.0, 1.5)),
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    faults=FAULTS,
    seed=st.integers(0, 1000),
    items=st.integers(1, 100),
    late=st.sampled_from(WhenLate),
    pooled=st.booleans(),
    link=st.sampled_from([Link(latency_s=0.01), Link(latency_s=0.1, bandwidth_bytes_per_s=20_000)]),
    plan_delays=st.sampled_from([[0.0], [0.2, 0.0], [0.05, 1.5, math.inf, 0.0]]),
)
def test_whatever_happens_every_item_has_one_answer_or_is_reported(  # noqa: PLR0917
    faults: list[tuple[str, str, float]],
    seed: int,
    items: int,
    late: WhenLate,
    pooled: bool,
    link: Link,
    plan_delays: list[float],
):
    chance = random.Random(seed)
    world = with_noise(
        World(
            with_inputs(cluster_of(a=0.01, b=0.02, c=0.04, link=link)),
            request_of(items, deadline_s=2.0, when_late=late),
            settings=Settings(pooled=pooled),
            seed=seed,
            plan_delay_s=lambda: chance.choice(plan_delays),
            bad_items=frozenset(range(0, items, 17)),
        ),
        0.2,
    )
    world.repeat_answers = world.asks_fail_when_dead = bool(seed % 2)
    for fault in sorted(faults, key=lambda fault: fault[2]):
        _inflict(world, fault, chance)

    finish = world.run()  # checks that every item is accounted for, and the invariants after every event

    if late is WhenLate.KEEP_FLOOR and not faults:
        assert finish.outcome is Outcome.ANSWERED


def _inflict(world: World, fault: tuple[str, str, float], chance: random.Random) -> None:
    kind, node, at_s = fault
    match kind:
        case "slow":
            world.slow_down(node, at_s, chance.choice([0.1, 0.5, 2.0]))
        case "freeze":
            world.freeze(node, at_s, chance.choice([0.3, 3.0, math.inf]))
        case "kill":
            world.kill(node, at_s, noticed_after_s=chance.choice([0.0, 0.5]))
        case "blip":
            world.kill(node, at_s, noticed_after_s=0.1)
            world.revive(node, at_s + 0.4)
        case "fail":
            world.boards[pid(node)].fails = lambda task: chance.choice([None, "chance"])
