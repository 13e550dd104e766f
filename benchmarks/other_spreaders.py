"""Other ways than equipoise's to spread items over cores; for bench_efficiency.py and bench_single.py."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from plain_worker import METHOD, SERVICE, Call, Case, plain_worker
from spreaders import REPOSITORY, Ask, Core, Spreader, Work, equipoise_nodes, free_port, running, seconds_of

IN_FLIGHT = 2  # calls per node, so that one travels while the other is worked on


class GrpcFanOut:
    """A server on every core; each gets the same number of items, in calls of a chunk."""

    def __init__(self, calls: Sequence[Callable[[bytes], bytes]]) -> None:
        self._calls = calls

    @property
    def ways(self) -> Mapping[str, Callable[[Work], float]]:
        return {"gRPC, equal shares": self._equal_shares}

    @property
    def singles(self) -> Mapping[str, Ask]:
        return {"gRPC": lambda case, index: seconds_of(lambda: self._ask(0, case, [index]))}

    def _equal_shares(self, work: Work) -> float:
        began_s = time.perf_counter()
        with ExitStack() as pools:
            answers = []
            for node, share in enumerate(equal_shares(work.count, len(self._calls))):
                pool = pools.enter_context(ThreadPoolExecutor(IN_FLIGHT))
                answers += [pool.submit(self._ask, node, work.case, chunk) for chunk in chunks(share, work.chunk)]
            answered = sum(answer.result() for answer in answers)
        return elapsed_of(began_s, answered, work)

    def _ask(self, node: int, case: Case, indices: Sequence[int]) -> int:
        call = Call(folder=str(case.folder), variant=case.variant, batch=case.batch, payloads=case.payloads(indices))
        return len(msgspec.msgpack.decode(self._calls[node](msgspec.msgpack.encode(call))))


@contextmanager
def grpc_servers(cores: Sequence[Core], _cases: Sequence[Case], _data: Path) -> Iterator[Spreader]:
    import grpc  # noqa: PLC0415 - an extra

    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with ExitStack() as until_done:
        calls = []
        for core in cores:
            port = free_port()
            command = [sys.executable, str(REPOSITORY / "benchmarks" / "plain_worker.py"), str(port)]
            until_done.enter_context(running(command, core))
            channel = until_done.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", options=options))
            grpc.channel_ready_future(channel).result(timeout=60)
            calls.append(channel.unary_unary(f"/{SERVICE}/{METHOD}"))
        yield GrpcFanOut(calls)


class RayWorker:
    """The plain worker as an actor."""

    def pid(self) -> int:
        return os.getpid()

    def infer(self, folder: Path, variant: str, batch: int, payloads: list[bytes]) -> list[Any]:
        return plain_worker(folder, variant, batch).infer(payloads)


class RayActors:
    """An actor on every core: with equal shares, or as a pool in which whoever is idle gets the next chunk."""

    def __init__(self, ray: Any, actors: Sequence[Any]) -> None:
        self._ray, self._actors = ray, actors

    @property
    def ways(self) -> Mapping[str, Callable[[Work], float]]:
        return {"Ray, equal shares": self._equal_shares, "Ray, ActorPool": self._pool}

    @property
    def singles(self) -> Mapping[str, Ask]:
        return {"Ray": lambda case, index: seconds_of(lambda: self._ray.get(self._ask(self._actors[0], case, [index])))}

    def _equal_shares(self, work: Work) -> float:
        began_s = time.perf_counter()
        shares = [chunks(share, work.chunk) for share in equal_shares(work.count, len(self._actors))]
        asked = [
            self._ask(actor, work.case, chunk)
            for turn in zip(*shares, strict=True)
            for actor, chunk in zip(self._actors, turn, strict=True)
        ]
        return elapsed_of(began_s, sum(map(len, self._ray.get(asked))), work)

    def _pool(self, work: Work) -> float:
        from ray.util import ActorPool  # noqa: PLC0415 - an extra

        began_s = time.perf_counter()
        answers = ActorPool(self._actors).map_unordered(
            lambda actor, chunk: self._ask(actor, work.case, chunk), chunks(range(work.count), work.chunk)
        )
        return elapsed_of(began_s, sum(map(len, answers)), work)

    def _ask(self, actor: Any, case: Case, indices: Sequence[int]) -> Any:
        return actor.infer.remote(case.folder, case.variant, case.batch, case.payloads(indices))


@contextmanager
def ray_actors(cores: Sequence[Core], _cases: Sequence[Case], _data: Path) -> Iterator[Spreader]:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # by default workers give way to others
    import ray  # noqa: PLC0415 - an extra

    where = {"env_vars": {"PYTHONPATH": f"{REPOSITORY / 'benchmarks'}:{REPOSITORY}"}}  # workers import this module
    ray.init(
        num_cpus=len(cores), include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=where
    )
    try:
        actors = [ray.remote(num_cpus=1)(RayWorker).remote() for _ in cores]
        for core, pid in zip(cores, ray.get([actor.pid.remote() for actor in actors]), strict=True):
            core.take(pid)
        yield RayActors(ray, actors)
    finally:
        ray.shutdown()


SPREADERS = {  # by name: the module that it needs, and what brings it up
    "equipoise": ("equipoise", equipoise_nodes),
    "gRPC": ("grpc", grpc_servers),
    "Ray": ("ray", ray_actors),
}


def equal_shares(count: int, nodes: int) -> list[range]:
    return [range(node * count // nodes, (node + 1) * count // nodes) for node in range(nodes)]


def chunks(items: range, size: int) -> list[range]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def elapsed_of(began_s: float, answered: int, work: Work) -> float:
    elapsed_s = time.perf_counter() - began_s
    if answered != work.count:
        raise SystemExit(f"only {answered} of {work.count} items were answered")
    return elapsed_s
