"""Makes the events of a scenario happen to the world."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from equipoise.core.cluster import Cluster, Link
from equipoise.simulation.agenda import Agenda
from equipoise.simulation.events import Event, Heats, Leaves, LinkChanges, Load, NodeEvent, Returns, UplinkChanges
from equipoise.simulation.pace import Heat
from equipoise.simulation.world import World

Undo = Callable[[str], None]  # of what happened to a node


class Happenings:
    """Which nodes an event for a fraction of them strikes is decided by `seed`, in the moment in which it happens."""

    def __init__(self, cluster: Cluster, world: World, agenda: Agenda, seed: int) -> None:
        self._names = [node.name for node in cluster.nodes]
        self._links = {node.name: node.link for node in cluster.nodes}
        self._uplink_bytes_per_s = cluster.uplink_bytes_per_s
        self._world = world
        self._agenda = agenda
        self._chance = Random(f"{seed}/events")

    def enter(self, events: Iterable[Event]) -> None:
        """Have them happen at their times."""
        for event in events:
            self._agenda.at(event.at_s, self._happen, event)

    def _happen(self, event: Event) -> None:
        if isinstance(event, UplinkChanges):
            self._change_uplink(event)
            return
        for name in self._struck(event):
            undo = self._strike(event, name)
            if event.for_s is not None:
                self._agenda.at(event.at_s + event.for_s, undo, name)

    def _change_uplink(self, event: UplinkChanges) -> None:
        self._world.set_uplink(event.bandwidth_bytes_per_s)
        if event.for_s is not None:
            self._agenda.at(event.at_s + event.for_s, self._world.set_uplink, self._uplink_bytes_per_s)

    def _struck(self, event: NodeEvent) -> list[str]:
        if event.node is not None:
            return [event.node]
        assert event.fraction is not None
        names = [name for name in self._names if self._can_be_struck(event, name)]
        count = min(len(names), max(1, round(event.fraction * len(self._names))))
        return [names[place] for place in sorted(self._chance.sample(range(len(names)), count))]

    def _can_be_struck(self, event: NodeEvent, name: str) -> bool:
        if isinstance(event, Leaves):
            return self._world.is_there(name)
        return not isinstance(event, Returns) or not self._world.is_there(name)

    def _strike(self, event: NodeEvent, name: str) -> Undo:
        world = self._world
        match event:
            case Leaves():
                (world.silence if event.silent else world.kill)(name)
                return self._return
            case Returns():
                self._return(name)
            case Load():
                world.set_speed(name, event.processor, event.speed)
                return lambda name: world.set_speed(name, event.processor, 1.0)
            case Heats():
                world.set_heat(name, event.processor, Heat(event.speed, event.time_constant_s))
                return lambda name: world.set_heat(name, event.processor, None)
            case LinkChanges():
                world.set_link(name, self._changed(world.network.links[name], event))
                return lambda name: world.set_link(name, self._links[name])
        return self._nothing

    def _return(self, name: str) -> None:
        if not self._world.is_there(name):  # it may have returned before its time
            self._world.bring_back(name)

    def _changed(self, link: Link, event: LinkChanges) -> Link:
        given = {"latency_s": event.latency_s, "bandwidth_bytes_per_s": event.bandwidth_bytes_per_s}
        return msgspec.structs.replace(link, **{name: value for name, value in given.items() if value is not None})

    def _nothing(self, name: str) -> None:
        """What a return needs to be undone."""
