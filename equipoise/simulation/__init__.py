"""The laboratory: the same planner, dispatcher and feedback as in production, driven in virtual time.

    outcome = simulate(cluster, scenario, "equipoise", seed=0)
    outcome.requests[0].receipt.met.both

`simulate` is the second shell around the core, where `runtime` is the first; nothing that decides is copied.

    scenario.py      what is asked, what happens, how the world differs from its description
    agenda.py        virtual time
    world.py         the nodes and the way to them: processors.py, pace.py, network.py
    happenings.py    the scenario's events befall the world
    arrivals.py      when the items of a stream arrive
    conversation.py  the coordinator of one request, which decides nothing; stream_conversation.py that of a stream
    policy.py        the seam: who decides
    records.py       the time line, as it happens; outcome.py what came of it
    clairvoyant.py   what nobody can beat who knows the scenario: a bound beside the runs

The seam. A `Policy` admits requests and names a `Follower` for each: a machine that is told events and returns
commands, in the words of `dispatch.events` and `dispatch.commands`. Production's `Dispatcher` is one, so a strategy's
name is a policy's name. Any other is passed to `simulate` as a function that makes it:

    def make(cluster: Cluster, scenario: Scenario, seed: int) -> Policy: ...

    simulate(cluster, scenario, make, seed=0)

A follower sees what a real coordinator sees: its own tasks and what came of them, and which nodes the network has. It
speaks the dispatcher's language, so the real coordinator (`runtime.coordinator.run_request`) can run it, too.
"""

from equipoise.simulation.arrivals import Bursty, Diurnal, Poisson, Recorded
from equipoise.simulation.events import Heats, Leaves, LinkChanges, Load, Returns, ScenarioError, UplinkChanges
from equipoise.simulation.outcome import Outcome, ProcessorOutcome, RequestOutcome, RouteOutcome, StreamOutcome
from equipoise.simulation.policy import Follower, Policy, PolicyMaker
from equipoise.simulation.scenario import BatchRequest, Scenario, Stragglers, Stream, Truth
from equipoise.simulation.simulator import simulate

__all__ = [
    "BatchRequest",
    "Bursty",
    "Diurnal",
    "Follower",
    "Heats",
    "Leaves",
    "LinkChanges",
    "Load",
    "Outcome",
    "Poisson",
    "Policy",
    "PolicyMaker",
    "ProcessorOutcome",
    "Recorded",
    "RequestOutcome",
    "Returns",
    "RouteOutcome",
    "Scenario",
    "ScenarioError",
    "Stragglers",
    "Stream",
    "StreamOutcome",
    "Truth",
    "UplinkChanges",
    "simulate",
]
