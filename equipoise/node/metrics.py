"""A node's figures for Prometheus, over HTTP: looked up when they are asked for, so that nobody pays between.

Imported only where somebody wants them: the library costs memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from equipoise.errors import ServiceError, reason_of
from equipoise.fabric.messages import ProcessorStatus
from equipoise.node.live import Observed

_PATIENCE_S = 5.0  # for the event loop, which may be closing

Observe = Callable[[], Awaitable[Observed]]


@asynccontextmanager
async def metrics_served(host: str, port: int, observe: Observe) -> AsyncGenerator[str, None]:
    """Serve what `observe` tells, which is awaited on the running event loop; gives the address, HOST:PORT.

    Port 0 is any that is free. Raises ServiceError if the address cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(NodeCollector(observe, asyncio.get_running_loop()))
    ProcessCollector(registry=registry)
    try:
        server, thread = await asyncio.to_thread(start_http_server, port, host, registry)
    except OSError as error:
        raise ServiceError(f"metrics cannot be served at {host}, port {port}: {reason_of(error)}") from error
    try:
        yield f"[{host}]:{server.server_port}" if ":" in host else f"{host}:{server.server_port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


class NodeCollector(Collector):
    """Asks the node, on its event loop, whenever somebody scrapes. Called on threads of the server."""

    def __init__(self, observe: Observe, loop: asyncio.AbstractEventLoop) -> None:
        self._observe = observe
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        """Every figure."""

        async def observed() -> Observed:
            return await self._observe()

        now = asyncio.run_coroutine_threadsafe(observed(), self._loop).result(_PATIENCE_S)
        yield from _of_node(now)
        yield from _of_processors(now.status.processors)

    def describe(self) -> Iterator[Metric]:
        """Nothing: figures are not looked up before they are asked for."""
        yield from ()


def _of_node(now: Observed) -> Iterator[Metric]:
    status = now.status
    yield InfoMetricFamily("equipoise_node", "Which node this is", {"node": status.name, "version": status.version})
    figures: tuple[tuple[str, str, float | None], ...] = (
        ("peers", "Other nodes in the cluster", now.peers),
        ("coordinators", "Coordinators whose tasks are here", status.coordinators),
        ("draining", "1 if no more tasks are taken", status.draining),
        ("models_bytes", "Memory that loaded models take", status.models_bytes),
        ("models_limit_bytes", "Memory that models may take", status.memory_bytes),
        ("temperature_celsius", "Of the hottest thermal zone", status.temperature_c),
        ("throttled", "1 if a core may not run as fast as it is built to", status.throttled),
    )
    for name, what, value in figures:
        if value is not None:  # what the system does not tell has no figure
            yield GaugeMetricFamily(f"equipoise_{name}", what, value=value)
    yield CounterMetricFamily(
        "equipoise_tasks_refused", "Tasks that were sent and not taken", value=status.tasks_refused
    )


def _of_processors(processors: tuple[ProcessorStatus, ...]) -> Iterator[Metric]:
    tasks = CounterMetricFamily("equipoise_tasks", "Tasks by what became of them", labels=("processor", "outcome"))
    for one in processors:
        for outcome in ("done", "failed", "dropped"):
            tasks.add_metric((one.name, outcome), getattr(one.tally, f"tasks_{outcome}"))
    yield tasks
    for name, what, value in _COUNTERS:
        yield _filled(CounterMetricFamily(f"equipoise_{name}", what, labels=("processor",)), processors, value)
    for name, what, value in _GAUGES:
        yield _filled(GaugeMetricFamily(f"equipoise_{name}", what, labels=("processor",)), processors, value)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily,
    processors: tuple[ProcessorStatus, ...],
    value: Callable[[ProcessorStatus], float],
) -> Metric:
    for one in processors:
        family.add_metric((one.name,), value(one))
    return family


_Figure = tuple[str, str, Callable[[ProcessorStatus], float]]
_COUNTERS: tuple[_Figure, ...] = (
    ("items", "Items inferred", lambda one: one.items_done),
    ("busy_seconds", "Seconds at work on tasks, loading included", lambda one: one.tally.busy_s),
    ("model_loads", "Models loaded", lambda one: one.tally.loads),
    ("model_load_seconds", "Seconds of loading them", lambda one: one.tally.load_s),
)
_GAUGES: tuple[_Figure, ...] = (
    ("queue_tasks", "Tasks that are here", lambda one: one.queue_tasks),
    ("queue_seconds", "What they should need", lambda one: one.queue_s),
    ("speed_factor", "Speed relative to the profile, as learned from results", lambda one: one.speed),
    ("resident_variants", "Variants that are loaded", lambda one: len(one.resident)),
)
