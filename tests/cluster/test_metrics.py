"""A node's figures, as Prometheus would scrape them over HTTP."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from nodes import NodeProcess, real_cluster
from prometheus_client.parser import text_string_to_metric_families

from equipoise.core.family import Family
from equipoise.errors import ServiceError
from equipoise.fabric.messages import NodeStatus, ProcessorStatus, Tally
from equipoise.node.live import Observed
from equipoise.node.metrics import metrics_served

ITEMS = 120

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(url: str) -> Figures:
    """Values by name and labels."""
    with urllib.request.urlopen(url, timeout=30) as reply:
        text = reply.read().decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def figure(figures: Figures, name: str, **labels: str) -> float:
    return figures[name, frozenset(labels.items())]


def address_of(node: NodeProcess) -> str:
    told = re.search(r"at=(\S+)", node.until("metrics"))
    assert told is not None
    return told[1]


def test_what_a_node_has_done_can_be_scraped(tmp_path: Path, tiny_family: Family) -> None:
    np.save(tmp_path / "grey.npy", np.full((ITEMS, 8, 8, 3), 200, dtype=np.uint8))
    family = str(tiny_family.folder)
    with real_cluster(tmp_path) as cluster:
        cluster.start("other", "--no-fetch")
        node = cluster.start("c", "--family", family, "--processors", "cpu", "--metrics", "0")
        url = address_of(node)
        node.until("profiled")
        before = scrape(url)
        code, _, complaints = cluster.run(
            "run", "grey.npy", "--family", family, "--cluster", "live", "--nodes", "2", "--deadline-s", "600"
        )
        assert code == 0, complaints
        after = scrape(url)

    assert url.startswith("http://127.0.0.1:")  # nobody else sees it unless that is asked for
    assert figure(before, "equipoise_items_total", processor="cpu") == 0
    assert figure(after, "equipoise_items_total", processor="cpu") == ITEMS
    assert figure(after, "equipoise_tasks_total", processor="cpu", outcome="done") > 0
    assert figure(after, "equipoise_busy_seconds_total", processor="cpu") > 0
    assert figure(after, "equipoise_model_loads_total", processor="cpu") >= 1
    assert figure(after, "equipoise_resident_variants", processor="cpu") >= 1
    assert figure(after, "equipoise_queue_tasks", processor="cpu") == 0
    assert figure(after, "equipoise_models_limit_bytes") > figure(after, "equipoise_models_bytes") > 0
    assert figure(after, "equipoise_peers") == 1
    assert figure(after, "process_resident_memory_bytes") > 0


def test_two_nodes_do_not_get_one_port(tmp_path: Path) -> None:
    with real_cluster(tmp_path) as cluster:
        port = address_of(cluster.start("c", "--metrics", "0")).split(":")[-1].removesuffix("/metrics")
        code, _, complaints = cluster.run("node", "--name", "d", "--metrics", port)

    assert code == 1
    assert f"metrics cannot be served at 127.0.0.1, port {port}" in complaints


@pytest.mark.parametrize("address", ["", "host:", "70000", "host:port", "²"])
def test_an_address_that_is_none_is_refused(tmp_path: Path, address: str) -> None:
    with real_cluster(tmp_path) as cluster:
        code, _, complaints = cluster.run("node", "--metrics", address)

    assert code == 2
    assert "must be PORT or HOST:PORT" in complaints


async def test_every_figure_stands_for_itself() -> None:
    tally = Tally(tasks_done=7, tasks_failed=2, tasks_dropped=1, busy_s=12.5, loads=3, load_s=1.5)
    gpu = ProcessorStatus(name='gpu "0"', queue_tasks=4, queue_s=2.5, speed=0.5, items_done=90, tally=tally)
    status = NodeStatus(
        name="pi", version="1.2.3", emulated=False, draining=True, temperature_c=61.5, throttled=True,
        models_bytes=10, memory_bytes=100, coordinators=2, tasks_refused=5,
        processors=(gpu, ProcessorStatus(name="cpu")),
    )  # fmt: skip

    async def observe() -> Observed:
        return Observed(status=status, peers=3)

    async with metrics_served("127.0.0.1", 0, observe) as address:
        figures = await asyncio.to_thread(scrape, f"http://{address}/metrics")
        with pytest.raises(ServiceError, match="cannot be served"):
            async with metrics_served("127.0.0.1", int(address.split(":")[1]), observe):
                pass

    def of(name: str, **labels: str) -> float:
        return figure(figures, f"equipoise_{name}", **labels)

    assert of("node_info", node="pi", version="1.2.3") == 1
    assert [of("tasks_total", processor='gpu "0"', outcome=x) for x in ("done", "failed", "dropped")] == [7, 2, 1]
    assert of("tasks_refused_total") == 5
    assert (of("peers"), of("coordinators"), of("draining"), of("throttled")) == (3, 2, 1, 1)
    assert (of("models_bytes"), of("models_limit_bytes"), of("temperature_celsius")) == (10, 100, 61.5)
    gpu_figures = {
        "items_total": 90, "busy_seconds_total": 12.5, "model_loads_total": 3, "model_load_seconds_total": 1.5,
        "queue_tasks": 4, "queue_seconds": 2.5, "speed_factor": 0.5, "resident_variants": 0,
    }  # fmt: skip
    assert {name: of(name, processor='gpu "0"') for name in gpu_figures} == gpu_figures
    assert of("speed_factor", processor="cpu") == 1


async def test_what_the_system_does_not_tell_has_no_figure() -> None:
    async def observe() -> Observed:
        return Observed(status=NodeStatus(name="pi", version="1", emulated=False), peers=0)

    async with metrics_served("127.0.0.1", 0, observe) as address:
        figures = await asyncio.to_thread(scrape, f"http://{address}/metrics")

    names = {name for name, _ in figures}
    assert not names & {"equipoise_temperature_celsius", "equipoise_throttled", "equipoise_models_limit_bytes"}


def test_who_wants_no_figures_does_not_pay_for_the_library() -> None:
    check = "import sys, equipoise.cli.node; sys.exit('prometheus_client' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
