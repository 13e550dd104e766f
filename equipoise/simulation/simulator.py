"""Runs a scenario on a described cluster in virtual time."""

from __future__ import annotations

from dataclasses import replace

from equipoise.core.cluster import Cluster
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.conversation import Conversation
from equipoise.simulation.coordinator import Coordinator, Setting
from equipoise.simulation.happenings import Happenings
from equipoise.simulation.outcome import Outcome, ProcessorOutcome, RequestOutcome
from equipoise.simulation.policy import PolicyMaker, policy_maker
from equipoise.simulation.records import Recorder, discard
from equipoise.simulation.scenario import Scenario
from equipoise.simulation.stream_conversation import StreamConversation
from equipoise.simulation.stream_policy import stream_policy
from equipoise.simulation.world import World


def simulate(
    cluster: Cluster,
    scenario: Scenario,
    strategy: str | PolicyMaker = "equipoise",
    seed: int = 0,
    *,
    record: Recorder = discard,
) -> Outcome:
    """What comes of a scenario when `strategy` decides; a strategy or another policy by name, or what makes a policy.

    Everything that chance decides follows from `seed`; how long tasks take and which nodes are struck is the same
    whatever the strategy. The time line goes to `record` as it happens.
    Raises ScenarioError if the scenario does not fit the cluster, UnknownStrategyError, and UsageError if there are
    streams and the strategy takes none.
    """
    scenario.check(cluster)
    scenario = scenario.named()
    make_policy = policy_maker(strategy) if isinstance(strategy, str) else strategy
    policy = make_policy(cluster, scenario, seed)
    agenda = Agenda()
    world = World(cluster, scenario.truth, agenda, seed, record)
    Happenings(cluster, world, agenda, seed).enter(
        scenario.events
    )  # first: who begins in the moment of a loss finds it lost
    under_way: set[Coordinator] = set()
    setting = Setting(world=world, agenda=agenda, record=record, seed=seed, planning_s=scenario.truth.planning_s)
    conversations = [
        Conversation(
            asked, policy, replace(setting, seed=seed + number), family=cluster.family, on_end=under_way.remove
        )
        for number, asked in enumerate(scenario.requests)
    ]
    deciding = stream_policy(policy.name, cluster) if scenario.streams else None
    streams = [StreamConversation(asked, deciding, setting, under_way.remove) for asked in scenario.streams if deciding]
    under_way.update(conversations, streams)
    for conversation in conversations:
        agenda.at(conversation.asked.at_s, conversation.begin)
    for stream in streams:
        agenda.at(stream.asked.at_s, stream.begin)
    agenda.run(until=lambda: not under_way)
    assert not under_way, "nothing is left to happen, but requests are not over"
    return Outcome(
        strategy=policy.name,
        seed=seed,
        requests=tuple(_outcome_of(conversation) for conversation in conversations),
        streams=tuple(stream.outcome for stream in streams if stream.outcome is not None),
        processors=tuple(
            ProcessorOutcome(node=pid.node, processor=pid.processor, busy_s=busy_s)
            for pid, busy_s in world.busy_s.items()
        ),
        ended_s=agenda.now_s,
        tasks=world.tasks,
    )


def _outcome_of(conversation: Conversation) -> RequestOutcome:
    asked = conversation.asked
    return RequestOutcome(name=asked.name, at_s=asked.at_s, plan=conversation.plan, receipt=conversation.receipt)
