"""Each policy decides as its source says."""

from __future__ import annotations

import numpy as np

from equipoise.core.cluster import ProcessorId, Profile
from equipoise.policies.bandit import Bandit
from equipoise.policies.fastest_host import REMEMBERED_S, FastestHost
from equipoise.policies.infaas import Infaas
from equipoise.policies.join_shortest_queue import JoinShortestQueue
from equipoise.policies.model_switching import ModelSwitching
from equipoise.policies.power_of_two import PowerOfTwo
from equipoise.policies.replicas import MAX_ONGOING
from tests.policies.boards import answered, board, now

ACCURACIES = {"small": 0.6, "medium": 0.7, "large": 0.8}


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- one model: queues ------------------------------------------------------------------------------------------------


def test_the_shortest_queue_is_joined_however_slow_it_is():
    policy = JoinShortestQueue("v")

    choice = policy.choose(now(board("fast", 2, v=0.01), board("slow", 1, v=1.0)))

    assert (choice.pid.node, choice.variant, choice.batch) == ("slow", "v", 1)


def test_full_replicas_and_those_that_are_gone_or_lack_the_variant_get_nothing():
    policy = JoinShortestQueue("v")

    choice = policy.choose(
        now(board("full", MAX_ONGOING, v=0.01), board("gone", usable=False, v=0.01), board("other", w=0.01))
    )

    assert choice is None


def test_a_query_is_one_call_of_the_best_measured_batch():
    seen = board("gpu", 3)
    seen.profiles = {"v": Profile(variant="v", latency_s={1: 1.0, 4: 1.5})}

    assert JoinShortestQueue("v").choose(now(seen)).batch == 4


def test_power_of_two_takes_the_shorter_of_the_two_that_it_draws():
    policy = PowerOfTwo("v", chance())
    boards = [board(f"n{n}", n, v=0.1) for n in range(4)]

    chosen = [policy.choose(now(*boards)).pid.node for _ in range(4000)]

    # Of the six pairs of four boards, three have the shortest queue, two the second and one the third.
    shares = [chosen.count(f"n{n}") / 4000 for n in range(4)]
    np.testing.assert_allclose(shares, [3 / 6, 2 / 6, 1 / 6, 0], atol=0.03)


def test_power_of_two_repeats_from_its_seed():
    boards = [board(f"n{n}", v=0.1) for n in range(5)]

    runs = [[PowerOfTwo("v", rng).choose(now(*boards)) for _ in range(20)] for rng in (chance(7), chance(7))]

    assert runs[0] == runs[1]


# --- one model: response times ----------------------------------------------------------------------------------------


def test_every_host_is_tried_before_the_fastest_is_known():
    policy = FastestHost("v")
    policy.learn(answered("known", 0.001))

    assert policy.choose(now(board("known", v=0.1), board("new", v=0.1))).pid.node == "new"


def test_the_host_that_answered_fastest_of_late_gets_the_next():
    policy = FastestHost("v")
    for node, response_s in (("a", 0.3), ("b", 0.1), ("a", 0.3)):
        policy.learn(answered(node, response_s))

    assert policy.choose(now(board("a", v=0.1), board("b", 4, v=0.1))).pid.node == "b"


def test_what_was_recorded_long_ago_is_forgotten():
    policy = FastestHost("v")
    policy.learn(answered("slow", 9.0, now_s=0.0))
    policy.learn(answered("fast", 0.1, now_s=REMEMBERED_S))

    later = now(board("slow", v=0.1), board("fast", v=0.1), now_s=REMEMBERED_S + 1)

    assert policy.choose(later).pid.node == "slow"


def test_a_client_has_only_so_many_connections():
    policy = FastestHost("v")

    assert policy.choose(now(board("a", 2 * MAX_ONGOING, v=0.1), board("b", v=0.1))) is None


# --- variants ---------------------------------------------------------------------------------------------------------


def switch(items: int, left_s: float) -> str:
    boards = [board(name, small=0.1, medium=0.2, large=0.4) for name in ("a", "b")]
    return ModelSwitching(ACCURACIES).choose(now(*boards, load_per_s=items / left_s)).variant


def test_the_variant_follows_the_load():
    # Both boards together do 20, 10 and 5 items per second.
    assert [switch(items, 10.0) for items in (50, 100, 200)] == ["large", "medium", "small"]


def test_an_accurate_variant_that_answers_most_in_time_is_worth_more_than_a_poor_one_that_answers_all():
    assert switch(52, 10.0) == "large"  # 0.8 x 50 / 52 > 0.7


def test_infaas_takes_the_cheapest_variant_that_keeps_the_floor():
    policy = Infaas(ACCURACIES, floor=0.65)

    choice = policy.choose(now(board("a", small=0.1, medium=0.2, large=0.4), left_s=10.0))

    assert choice.variant == "medium"


def test_infaas_sends_to_whoever_answers_first_and_leaves_the_overloaded_alone():
    policy = Infaas(ACCURACIES, floor=0.65)
    busy, idle = board("busy", free_s=5.0, medium=0.1), board("idle", medium=0.9)

    assert policy.choose(now(busy, idle, left_s=1.0)).pid.node == "idle"
    assert policy.choose(now(busy, idle, left_s=0.5)).pid.node == "idle"  # everybody is overloaded: the least


def test_infaas_counts_the_time_to_load():
    policy = Infaas(ACCURACIES, floor=0.65)
    cold, warm = board("cold", medium=0.1), board("warm", medium=0.2)
    cold.profiles = {"medium": Profile(variant="medium", latency_s={1: 0.1}, load_s=3.0)}

    assert policy.choose(now(cold, warm, left_s=10.0)).pid.node == "warm"


def test_infaas_takes_a_dearer_variant_where_no_instance_of_the_cheapest_is_in_time():
    policy = Infaas(ACCURACIES, floor=0.65)
    slow, quick = board("slow", free_s=9.0, medium=0.01, large=1.0), board("quick", large=0.5)

    choice = policy.choose(now(slow, quick, left_s=1.0))

    assert (choice.pid.node, choice.variant) == ("quick", "large")


# --- learning ---------------------------------------------------------------------------------------------------------


def greedy(policy: Bandit, situation) -> tuple[str, str]:
    """What it mostly does, chance aside."""
    choices = [policy.choose(situation) for _ in range(99)]
    return max(((c.pid.node, c.variant) for c in choices), key=[(c.pid.node, c.variant) for c in choices].count)


def test_the_bandit_starts_from_the_profile_and_takes_the_quickest_that_is_accurate_enough():
    policy = Bandit(ACCURACIES, chance())

    assert greedy(policy, now(board("a", small=0.1, medium=0.2), owed_accuracy=0.65)) == ("a", "medium")


def test_the_bandit_learns_that_a_board_is_slower_than_its_profile():
    policy = Bandit(ACCURACIES, chance())
    boards = now(board("quick", small=0.1), board("steady", small=0.2))
    assert greedy(policy, boards) == ("quick", "small")

    for _ in range(20):
        policy.learn(answered("quick", 1.0, variant="small"))

    assert greedy(policy, boards) == ("steady", "small")


def test_the_bandit_uses_the_most_accurate_there_is_when_more_is_owed():
    assert greedy(Bandit(ACCURACIES, chance()), now(board("a", small=0.1), owed_accuracy=0.99)) == ("a", "small")


def test_a_choice_names_a_processor():
    assert JoinShortestQueue("v").choose(now(board("a", v=0.1))).pid == ProcessorId("a", "cpu")
