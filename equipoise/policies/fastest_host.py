"""Policy `fastest-host`: the host that has answered fastest of late.

Source: the mesh of CodeProject.AI Server (its documentation, "The CodeProject.AI Server Mesh", 2023): a server tries
the others out, records how long each takes to answer, and passes a request on to whoever is faster than itself. Records
decay: after a while without news the effective response time of a host is 0 again, so that it is tried anew.

Adapted: the original serves requests one at a time as they come. Of a batch, a client with `MAX_ONGOING` connections
for each host keeps that many queries outstanding, and each goes to the fastest host, however many that one already has;
a response time includes the wait, so a host that is sent too much becomes slow and others take over. Within a host,
whichever of its processors should be free first does the work. One variant everywhere (registry.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from equipoise.dispatch.router import Answered, Choice, Seen, Situation
from equipoise.policies.replicas import MAX_ONGOING, query

REMEMBERED_S = 10.0  # how long a response time counts without news
_NEWEST = 0.5  # weight of the newest response time in the record


@dataclass(slots=True)
class _Record:
    response_s: float
    at_s: float


class FastestHost:
    """One variant for all; to the node with the lowest recorded response time."""

    def __init__(self, variant: str) -> None:
        self._variant = variant
        self._records: dict[str, _Record] = {}

    def choose(self, situation: Situation) -> Choice | None:
        """The fastest host; of hosts without a record, the one with the fewest items."""
        able = [seen for seen in situation.processors if seen.can_run(self._variant)]
        if not able or self._outstanding(able) >= MAX_ONGOING * len({seen.pid.node for seen in able}):
            return None
        items: dict[str, int] = {}
        for seen in able:
            items[seen.pid.node] = items.get(seen.pid.node, 0) + seen.in_flight_items
        host = min(items, key=lambda node: (self._response_s(node, situation.now_s), items[node]))
        here = (seen for seen in able if seen.pid.node == host)
        return query(min(here, key=lambda seen: seen.busy_s(situation.now_s)), self._variant)

    def _outstanding(self, able: list[Seen]) -> float:
        return sum(seen.in_flight_items / seen.profiles[self._variant].best_batch for seen in able)

    def _response_s(self, node: str, now_s: float) -> float:
        record = self._records.get(node)
        return 0.0 if record is None or now_s > record.at_s + REMEMBERED_S else record.response_s

    def learn(self, answered: Answered) -> None:
        """Record how long the host took."""
        before_s = self._response_s(answered.pid.node, answered.now_s) or answered.response_s
        response_s = before_s + _NEWEST * (answered.response_s - before_s)
        self._records[answered.pid.node] = _Record(response_s, answered.now_s)
