"""Options that say which cluster to take part in, and how to reach it."""

from __future__ import annotations

from typing import Annotated

import typer

ClusterNameOption = Annotated[
    str, typer.Option("--cluster-name", metavar="NAME", help="Of the cluster to take part in.")
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="ENDPOINT", help="Listen here, as in tcp/192.168.1.4:7447. May be repeated."),
]
ConnectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--connect", metavar="ENDPOINT", help="Dial this node or Zenoh router, instead of multicast. May be repeated."
    ),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Take part in an open cluster, which anybody on the network may do, too.")
]
