"""Whole requests under policies that decide online: in virtual time, with losses, and against an adversary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from test_any_order import BOARDS as THREE
from test_any_order import ITEMS, Adversary
from world import World, cluster_of, request_of

from equipoise.core.request import Prefer, WhenLate
from equipoise.dispatch.commands import Outcome
from equipoise.dispatch.online import OnlineDispatcher
from equipoise.planning.strategies import ONLINE
from equipoise.policies.registry import make_router

BOARDS = cluster_of(a=0.002, b=0.004, c=0.008)


def world_of(name: str, items: int = 400, *, deadline_s: float = 4.0, seed: int = 0) -> World:
    request = request_of(items, deadline_s=deadline_s, prefer=Prefer.ACCURACY)
    router = make_router(name, request, BOARDS, np.random.default_rng(seed))
    return World(BOARDS, request, seed=seed, router=router)


@pytest.mark.parametrize("name", ONLINE)
def test_every_item_is_answered_once_and_nobody_is_asked_for_a_plan(name: str):
    world = world_of(name)

    assert world.run().outcome is Outcome.ANSWERED

    assert len(world.answered) == 400
    assert world.plans == []


@pytest.mark.parametrize("name", ONLINE)
def test_what_a_lost_node_had_is_answered_by_the_others(name: str):
    world = world_of(name)
    world.kill("a", 0.3, noticed_after_s=0.1)

    assert world.run().outcome is Outcome.ANSWERED

    assert {processor.node for processor, _ in world.answered.values()} == {"a", "b", "c"}


@pytest.mark.parametrize("name", ONLINE)
def test_a_node_that_returns_is_used_again(name: str):
    world = world_of(name, 2000, deadline_s=8.0)
    world.kill("a", 0.2)
    world.revive("a", 0.4)

    world.run()

    last = max(task.task for task in world.sent.values() if task.pid.node == "a")
    assert last > min(task.task for task in world.sent.values() if task.pid.node == "b")
    assert world.items_by_node["a"] > 0


@pytest.mark.parametrize("name", ONLINE)
def test_without_any_node_left_the_request_is_abandoned(name: str):
    world = world_of(name)
    for node in ("a", "b", "c"):
        world.kill(node, 0.1)

    assert world.run().outcome is Outcome.ABANDONED


def test_a_model_that_runs_nowhere_ends_the_request_although_others_would_run():
    world = world_of("join-shortest-queue")
    for board in world.boards.values():
        board.fails = lambda task: "it is broken"

    finish = world.run()

    assert finish.outcome is Outcome.ABANDONED
    assert "it is broken" in finish.reason


def test_one_seed_one_run():
    runs = [world_of("power-of-two", seed=3) for _ in range(2)]
    for world in runs:
        world.run()

    assert runs[0].sent == runs[1].sent


def test_model_switching_turns_to_a_quicker_variant_when_a_board_is_lost():
    world = world_of("model-switching", deadline_s=5.0)
    world.kill("a", 1.0)

    world.run()

    assert [world.sent[0].variant, world.sent[max(world.sent)].variant] == ["large", "medium"]


def test_the_mean_over_the_request_stays_above_the_floor_where_only_the_mean_is_owed():
    world = world_of("bandit")

    world.run()

    assert world.accuracy >= 0.65 - 1e-9


class OnlineAdversary(Adversary):
    """The same adversary, with a router in place of plans."""

    @initialize(late=st.sampled_from(WhenLate), name=st.sampled_from(sorted(ONLINE)))
    def begin(self, late: WhenLate, name: str) -> None:
        request = request_of(ITEMS, deadline_s=1000.0, when_late=late)
        router = make_router(name, request, THREE, np.random.default_rng(0))
        self.dispatcher = OnlineDispatcher(request, THREE, range(ITEMS), router=router)
        self.now_s, self.tasks, self.answered, self.finish = 0.0, {}, set(), None
        self.take_down(self.dispatcher.start(0.0))


TestAnyOrderOnline = OnlineAdversary.TestCase
TestAnyOrderOnline.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
