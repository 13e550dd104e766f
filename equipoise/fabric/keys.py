"""Where on Zenoh's network everybody is: the keys of tokens and queryables.

A node is asked a verb on `equipoise/<cluster>/nodes/<node>/<instance>/<verb>`, and its token is on
`equipoise/<cluster>/alive/<node>/<instance>`. The instance tells processes apart that bear the same name one after the
other, and says which session it is on. Holders of model files do the same with `files` and `holders` in place of
`nodes` and `alive`. A coordinator has its token on `equipoise/<cluster>/coordinators/<identity>`. Names are
percent-encoded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote, unquote

import zenoh

from equipoise.fabric.base import Verb

_GIVES_WAY = Verb.CHUNK.value  # what keys end in that are asked in the background


class Kind(Enum):
    """Who is on the network: the word in the keys that it is asked on, and that in the key of its token."""

    NODE = ("nodes", "alive")
    HOLDER = ("files", "holders")


@dataclass(frozen=True, slots=True)
class Keys:
    """Those of everyone of one kind in a cluster."""

    cluster: str
    kind: Kind

    @property
    def tokens(self) -> str:
        """The tokens of all."""
        return _key(self.cluster, self.kind.value[1], "**")

    def token(self, name: str, instance: str) -> str:
        """The token of one."""
        return _key(self.cluster, self.kind.value[1], f"{quote(name, safe='')}/{instance}")

    def asked(self, name: str, instance: str, verb: Verb) -> str:
        """Where one is asked a verb."""
        return _key(self.cluster, self.kind.value[0], f"{quote(name, safe='')}/{instance}/{verb.value}")


def named_by(token: str) -> tuple[str, str]:
    """Whose token this is: name and instance."""
    name, instance = token.split("/")[-2:]
    return unquote(name), unquote(instance)


def coordinator_key(cluster: str, identity: str = "*") -> str:
    """The token of a coordinator; without its identity, of all."""
    return _key(cluster, "coordinators", identity)


def new_instance(zid: str) -> str:
    """What tells a process on this session apart from others; of one machine's the last is the greatest."""
    return f"{time.time_ns():016x}-{zid}"


def is_on(instance: str, zid: str) -> bool:
    """True if this is the instance of a process on that session."""
    return instance.endswith(f"-{zid}")


def priority_of(key: str) -> Any:
    """Zenoh's priority of what is asked there."""
    return zenoh.Priority.BACKGROUND if key.endswith(f"/{_GIVES_WAY}") else zenoh.Priority.DATA


def _key(cluster: str, word: str, rest: str) -> str:
    return f"equipoise/{quote(cluster, safe='')}/{word}/{rest}"
