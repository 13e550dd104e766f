"""The least that Ray Serve can serve, for bench_node.py: no model, what comes goes back. The port is the argument.

It serves until its standard input ends.
"""

from __future__ import annotations

import sys
from typing import Any

import ray
from ray import serve


@serve.deployment
class Echo:
    """Answers with what it was sent."""

    async def __call__(self, request: Any) -> Any:
        """What it was sent."""
        return await request.json()


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Echo.bind())
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()
