"""A real node: this machine's processors, its families, and what they cost here, on the network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from equipoise.core.family import Family
from equipoise.engines.processors import LocalProcessor
from equipoise.errors import EquipoiseError, NodeError
from equipoise.fabric.base import Verb
from equipoise.fabric.config import ZenohSettings
from equipoise.fabric.messages import NodeStatus
from equipoise.fabric.zenoh import ZenohFabric
from equipoise.families.identity import identity_of
from equipoise.families.manifest import load_family
from equipoise.models.description import describe
from equipoise.models.holders import Holders
from equipoise.models.shelf import Shelf
from equipoise.node.agent import NodeAgent, NodeFacts
from equipoise.node.allocation import keep_giving_memory_back
from equipoise.node.company import Company
from equipoise.node.health import read_health
from equipoise.node.log import NodeLog
from equipoise.node.memory import ModelMemory
from equipoise.node.profiler import Profiler
from equipoise.node.repertoire import Repertoire
from equipoise.node.stock import Keeper, Stock, StockSettings
from equipoise.node.survey import ProcessorsQuestion, ask_processors
from equipoise.node.worker import Worker, WorkerSettings

if TYPE_CHECKING:
    from equipoise.node.standing import Standing
    from equipoise.trust.membership import Membership

_HEAR_S = 1.0  # until the others have been heard of
_LOOK_AGAIN_S = 0.05
_ANSWERS_S = 5.0  # what a node that leaves gives its last answers to get away
_ALONE_S = 5.0  # until being alone is worth a word
_REOPEN_AGAIN_S = 1.0
_LAST_WORDS_S = 0.5  # to answer whoever told what makes a new session necessary


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSettings:
    """Which node to be. `memory_bytes` is what models may take together, by default most of what is free now.

    With a `membership`, which `network` must be that of, only model files that the cluster has signed are loaded.
    Families that others have are fetched and offered if `stock` says where to keep them.
    """

    name: str
    network: ZenohSettings
    membership: Membership | None = None
    data_folder: Path
    families: tuple[Path, ...] = ()
    processors: str | None = None
    split_cpu: tuple[tuple[int, ...], ...] | None = None
    memory_bytes: int | None = None
    insecure: bool = False
    stock: StockSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A node at one moment."""

    status: NodeStatus
    peers: int


@dataclass(kw_only=True, eq=False)
class LiveNode:
    """This machine as a node of its cluster, from `start` to `close`; no thread or process is left after that."""

    settings: LiveSettings
    log: NodeLog
    repertoire: Repertoire = field(default_factory=Repertoire)
    superseded: asyncio.Event = field(default_factory=asyncio.Event)  # a node of this name was started after this one
    _at_work: set[asyncio.Task[None]] = field(default_factory=set)
    _standing: Standing | None = None
    _moving: asyncio.Lock = field(default_factory=asyncio.Lock)  # from one session to the next
    _found: dict[Path, str] = field(default_factory=dict)  # which family was last read from a folder
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)  # of the folders, by one reload at a time
    _shelf: Shelf = field(default_factory=Shelf)
    _stock: Stock | None = None

    def __post_init__(self) -> None:
        self._holders = Holders(self.settings.name)
        if self.settings.membership is not None:
            from equipoise.node.standing import Standing  # noqa: PLC0415 - who is no member need not pay for it

            self._standing = Standing(self.settings.membership, self.log, self._on_signed)
            self.repertoire = Repertoire(self._standing.may_load)
        self._profiler = Profiler(repertoire=self.repertoire, data_folder=self.settings.data_folder, log=self.log)

    async def start(self) -> None:
        """Join the cluster and offer what is here. Raises EquipoiseError; then nothing is left, either."""
        began_s = time.monotonic()
        question = ProcessorsQuestion(names=self.settings.processors, split_cpu=self.settings.split_cpu)
        surveying = asyncio.ensure_future(ask_processors(question))
        try:
            self._fabric = await ZenohFabric.open(self._network())
            try:
                await self._refuse_taken_name()
                self._profiler.processors = await surveying
                families = [new for folder in self.settings.families for new in await self._load_family(folder)]
                await self._serve()
            except BaseException:
                await self._fabric.close()
                raise
        finally:
            surveying.cancel()
        self.log(
            "ready",
            node=self.settings.name,
            processors=",".join(p.name for p in self._profiler.processors),
            families=",".join(f.name for f in families) or None,
            insecure=self.settings.insecure or None,
            member_of=self.settings.membership and self.settings.membership.cluster,
            after_s=time.monotonic() - began_s,
        )
        for family in families:
            self._spawn(self._profiler.profile(family))
        if self.settings.stock is not None:
            self._stock = self._stocked(self.settings.stock)
            self._spawn(self._stock.run())
        self._spawn(self._tell_if_alone())
        self._spawn(keep_giving_memory_back())
        if self._standing is not None:
            self._spawn(self._keep(self._standing))

    async def close(self) -> None:
        """Leave the cluster; answers that are ready still go out."""
        async with self._moving:
            for work in tuple(self._at_work):
                work.cancel()
        await asyncio.gather(*self._at_work, return_exceptions=True)
        if self._stock is not None:
            self._stock.close()
        self._holders.leave()
        await self._holder_host.close()
        await self._agent.close(grace_s=_ANSWERS_S)
        await self._fabric.close()
        self.log("left", node=self.settings.name)

    async def drain(self, timeout_s: float, hurry: asyncio.Event) -> None:
        """Take no more tasks, and finish those that are here; what is not done in time or before `hurry`, others do."""
        self.log("draining", node=self.settings.name)
        draining, hurrying = asyncio.ensure_future(self._agent.drain(timeout_s)), asyncio.ensure_future(hurry.wait())
        await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        told_twice = not draining.done()
        hurrying.cancel()
        if told_twice or not draining.result():
            reason = "told to stop a second time" if told_twice else f"not done after {timeout_s:g} s"
            self.log("handed back", node=self.settings.name, reason=reason)
            self._agent.hand_back()
        await draining

    async def observed(self) -> Observed:
        """What it is and does now, and how many nodes besides are in its cluster."""
        present: set[str] = set()
        stop = self._fabric.watch(lambda node, _here: present.add(node))  # tells of all of them before it returns
        stop()
        return Observed(status=self._agent.status(families=()), peers=len(present - {self.settings.name}))

    async def reload(self) -> None:
        """Read the families' folders again: what is new is measured and offered, what is there no more is not.

        A folder that cannot be read keeps its family as it was; the log says why.
        """
        async with self._reading:
            families, before = [], set(self._found.values())
            for folder in self.settings.families:
                families += await self._load_family_again(folder)
            for identity in before - set(self._found.values()):
                self.repertoire.withdraw(identity)
                self._shelf.take(identity)
        self.log("reloaded", node=self.settings.name, families=",".join(f.name for f in families) or None)
        for family in families:
            self._spawn(self._profiler.profile(family))

    def _network(self) -> ZenohSettings:
        network = replace(self.settings.network, stays=True)
        return network if self._standing is None else replace(network, credentials=self._standing.credentials())

    async def _refuse_taken_name(self) -> None:
        """Wait for a process of that name which has just ended to be missed; a live one keeps its name."""
        name, began_s = self.settings.name, time.monotonic()
        heard_s = began_s + _HEAR_S
        while (now_s := time.monotonic()) < heard_s or name in await self._fabric.look():
            if now_s > began_s + self.settings.network.lease_s + 1.0:
                raise NodeError("a node of this name is already there; give this one another --name", node=name)
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _load_family(self, folder: Path) -> list[Family]:
        """The family in a folder, if it is new or has changed since it was read before."""
        family = await asyncio.to_thread(load_family, folder)
        identity = self._found[folder] = identity_of(family)
        if identity in self.repertoire.identities:
            return []
        self._profiler.take_in(family)
        with suppress(ValueError):  # an ending that no engine has, which is said when it is measured
            self._shelf.put(family, await asyncio.to_thread(describe, family))
        return [family]

    async def _load_family_again(self, folder: Path) -> list[Family]:
        try:
            return await self._load_family(folder)
        except EquipoiseError as error:
            self.log("reload failed", reason=error)
            return []

    async def _serve(self) -> None:
        memory_bytes = self.settings.memory_bytes or int(0.8 * psutil.virtual_memory().available)
        memory = ModelMemory(memory_bytes)
        facts = NodeFacts(
            name=self.settings.name,
            memory_bytes=memory_bytes,
            insecure=self.settings.insecure,
            fetches=self.settings.stock is not None,
            health=read_health,
            models_bytes=lambda: memory.used_bytes,
        )
        company = Company()
        workers = {processor.name: self._worker(processor, memory, company) for processor in self._profiler.processors}
        host = self._fabric.host()
        self._agent = NodeAgent(host, facts, self.repertoire, workers, price=self._profiler.price)
        await self._agent.start({Verb.CHARTER: self._standing.answer} if self._standing is not None else None)
        self._watch(host.instance)
        await self._hand_out()

    async def _hand_out(self) -> None:
        """Let others have the model files that are here, and see what they have."""
        self._holder_host = self._fabric.holder_host()
        await self._holder_host.serve(self.settings.name, self._shelf.handlers)
        self._holders.join(self._fabric.holders)

    def _stocked(self, settings: StockSettings) -> Stock:
        keeper = Keeper(
            survey=self._profiler.survey,
            unmeasured=self._profiler.unmeasured,
            busy=lambda: self._agent.busy,
            signed=self._standing.may_adopt if self._standing is not None else lambda identity: True,
        )
        return Stock(
            settings=settings,
            repertoire=self.repertoire,
            shelf=self._shelf,
            holders=self._holders,
            keeper=keeper,
            log=self.log,
        )

    def _watch(self, instance: str) -> None:
        """Meet whoever is there and whoever comes, and notice a successor."""
        fabric = self._fabric

        def on_change(node: str, here: bool) -> None:
            if node == self.settings.name:
                present = fabric.instance_of(node)
                if present is not None and present > instance:
                    self.superseded.set()
            elif here and self._standing is not None:
                self._spawn(self._standing.meet(fabric, node))

        fabric.watch(on_change)

    async def _keep(self, standing: Standing) -> None:
        """Open the session anew whenever whom it lets in, or what it shows, is out of date."""
        while True:
            self.log("reconnecting", node=self.settings.name, reason=await standing.outdated())
            while not await self._moved():
                await asyncio.sleep(_REOPEN_AGAIN_S)

    async def _moved(self) -> bool:
        """Move to a new session; False, and why is logged, if none can be opened now."""
        async with self._moving:
            self._holders.leave()
            await self._holder_host.close()
            await self._agent.pause(grace_s=_LAST_WORDS_S)
            await self._fabric.close()
            try:
                self._fabric = await ZenohFabric.open(self._network())
            except EquipoiseError as error:
                self.log("not connected", node=self.settings.name, reason=error)
                return False
            host = self._fabric.host()
            await self._agent.resume(host)
            self._watch(host.instance)
            await self._hand_out()
        self.log("reconnected", node=self.settings.name)
        return True

    async def _tell_if_alone(self) -> None:
        """Where other machines are wanted and none is there, say why."""
        network = self.settings.network
        if network.credentials is None and not network.open_to_anybody and not network.connect:
            return
        await asyncio.sleep(_ALONE_S)
        if await self._fabric.look() <= {self.settings.name}:
            for reason in await self._fabric.why_alone():
                self.log("alone", node=self.settings.name, reason=reason)

    def _worker(self, processor: LocalProcessor, memory: ModelMemory, company: Company) -> Worker:
        settings = WorkerSettings.of(processor)
        return Worker(self.repertoire, processor, settings=settings, memory=memory, company=company)

    def _on_signed(self) -> None:
        """The cluster has signed other families: what was refused may be among them."""
        for family in self._profiler.unsigned:
            self._profiler.take_in(family)
            self._spawn(self._profiler.profile(family))
        self._holders.stir()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._at_work.add(task)
        task.add_done_callback(self._at_work.discard)
