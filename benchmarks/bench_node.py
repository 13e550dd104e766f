"""What an idle node costs: memory (PSS) and seconds from its start until it is there, median over rounds.

    python benchmarks/bench_node.py [ROUNDS]

A node without a model is what a board pays for being in a cluster. PSS counts what processes share in equal parts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    measured = [measure_once() for _ in range(rounds)]
    ready_s, pss_mib = (statistics.median(figures) for figures in zip(*measured, strict=True))
    print(f"idle node without a model, median of {rounds}: ready after {ready_s:.2f} s, PSS {pss_mib:.1f} MiB")


def measure_once() -> tuple[float, float]:
    """Seconds until the node is there, and its PSS in MiB then."""
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.perf_counter()
        node = subprocess.Popen(
            [sys.executable, "-m", "equipoise", "node", "--name", "idle", "--cluster-name", uuid.uuid4().hex],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "EQUIPOISE_DATA_DIR": folder},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert node.stderr is not None
            for line in node.stderr:
                if "Z ready" in line:
                    break
            ready_s = time.perf_counter() - began_s
            return ready_s, psutil.Process(node.pid).memory_full_info().pss / 2**20
        finally:
            node.terminate()
            node.communicate()


if __name__ == "__main__":
    main()
