"""What one would write by hand: items through onnxruntime on one core; bare, or behind a gRPC server.

    python benchmarks/plain_worker.py PORT

serves it until standard input ends. bench_efficiency.py and bench_single.py start that, and `bare_core` in processes of
its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime

from equipoise.core.family import Family
from equipoise.families.classify import Ranking, best_classes
from equipoise.families.manifest import load_family
from equipoise.families.preprocess import prepare
from equipoise.runtime.inputs import ItemList, find_items

SERVICE, METHOD = "equipoise.Plain", "Infer"


@dataclass(frozen=True)
class Case:
    """What to infer: items, taken again from the start when there are no more, through one variant of a family."""

    folder: Path  # of the family
    inputs: str
    variant: str
    batch: int

    @cached_property
    def family(self) -> Family:
        return load_family(self.folder)

    @cached_property
    def items(self) -> ItemList:
        return find_items([self.inputs])

    def payload(self, index: int) -> bytes:
        return self.items.payload(index % len(self.items))

    def payloads(self, indices: Sequence[int]) -> list[bytes]:
        return [self.payload(index) for index in indices]


class PlainWorker:
    """A variant on the one core that this process has, with the settings that equipoise's engine has."""

    def __init__(self, family: Family, variant: str, batch: int) -> None:
        self._family, self._model, self._batch = family, family.model(variant), batch
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.x64quantprecision", "1")  # or int8 answers would not be the same
        path = family.path_of(self._model)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._feed, self._wanted = self._session.get_inputs()[0].name, [self._session.get_outputs()[0].name]

    def infer(self, payloads: Sequence[bytes]) -> list[Ranking]:
        rankings: list[Ranking] = []
        for start in range(0, len(payloads), self._batch):
            part = payloads[start : start + self._batch]
            batch = np.stack([prepare(payload, self._model.input) for payload in part])
            (scores,) = self._session.run(self._wanted, {self._feed: batch})
            rankings += best_classes(scores, self._model.output, self._family.first_class)
        return rankings


@lru_cache
def plain_worker(folder: Path, variant: str, batch: int) -> PlainWorker:
    """The worker of this process for a variant; it is loaded once."""
    return PlainWorker(load_family(folder), variant, batch)


@dataclass(frozen=True)
class AskRate:
    """How many items a second the core does, reading them included, while it does nothing else for `seconds`."""

    case: Case
    seconds: float


@dataclass(frozen=True)
class AskOne:
    """How many seconds one item takes, called directly."""

    case: Case
    index: int


@dataclass(frozen=True)
class Rate:
    """Items per second, and CPU seconds per item."""

    items_per_s: float
    cpu_item_s: float


def bare_core(connection: Connection) -> None:
    """Answer AskRate with a Rate and AskOne with seconds, until None comes."""
    for question in iter(connection.recv, None):
        case: Case = question.case
        worker = plain_worker(case.folder, case.variant, case.batch)
        if isinstance(question, AskRate):
            worker.infer(case.payloads(range(case.batch)))  # warm
            connection.send(_rate(worker, case, question.seconds))
        else:
            connection.send(_one(worker, question))


def _rate(worker: PlainWorker, case: Case, seconds: float) -> Rate:
    began_s, cpu_began_s, done = time.perf_counter(), time.process_time(), 0
    while (elapsed_s := time.perf_counter() - began_s) < seconds:
        worker.infer(case.payloads(range(done, done + case.batch)))
        done += case.batch
    return Rate(done / elapsed_s, (time.process_time() - cpu_began_s) / done)


def _one(worker: PlainWorker, question: AskOne) -> float:
    began_s = time.perf_counter()
    worker.infer([question.case.payload(question.index)])
    return time.perf_counter() - began_s


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What travels to the gRPC server; the answers are the rankings."""

    folder: str
    variant: str
    batch: int
    payloads: list[bytes]


def serve(port: int) -> None:
    import grpc  # noqa: PLC0415 - the bare loop does without

    def infer(request: bytes, _context: grpc.ServicerContext) -> bytes:
        call = msgspec.msgpack.decode(request, type=Call)
        worker = plain_worker(Path(call.folder), call.variant, call.batch)
        return msgspec.msgpack.encode(worker.infer(call.payloads))

    handler = grpc.method_handlers_generic_handler(SERVICE, {METHOD: grpc.unary_unary_rpc_method_handler(infer)})
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
