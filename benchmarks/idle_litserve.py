"""The least that LitServe can serve, for bench_node.py: no model, what comes goes back. The port is the argument."""

from __future__ import annotations

import sys
from typing import Any

import litserve


class Echo(litserve.LitAPI):
    """Answers with what it was sent."""

    def setup(self, device: str) -> None:
        """Nothing to load."""

    def predict(self, request: Any) -> Any:
        """What it was sent."""
        return request


if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
