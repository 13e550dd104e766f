"""Published boards: what image classifiers cost on them, each figure with its source.

The figures are package data, in `published/*.toml`; a set holds what may be compared with one another. Nothing in them
is scaled or filled in: a pair of processor and variant that nobody published is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib import resources

import msgspec

from equipoise.core.cluster import Cluster, Name, Node, Processor, Profile, Variant
from equipoise.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETS = ("ncnn", "tflite")


class PublishedVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variant and its accuracy on so many labelled images."""

    name: Name
    accuracy: float
    accuracy_items: int
    source: Name
    licence: Name


class PublishedProcessor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds per image of each variant at batch 1, and who published them."""

    name: Name
    what: Name
    runtime: Name
    source: Name
    licence: Name
    item_ms: dict[str, float]


class PublishedBoard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A board that one can buy; `title` is what its makers call it."""

    name: Name
    title: Name
    processors: tuple[PublishedProcessor, ...]

    def item_s(self, variants: Iterable[str]) -> dict[str, float]:
        """Seconds per item of each of these variants when all its processors run it, each at its own speed."""
        per_s = {v: sum(1000 / p.item_ms[v] for p in self.processors if v in p.item_ms) for v in variants}
        return {v: 1 / rate for v, rate in per_s.items() if rate > 0}

    def node(self, variants: Iterable[str]) -> Node:
        """This board as a node of a cluster that has these variants."""
        wanted = list(variants)
        return Node(name=self.name, processors=tuple(_processor(p, wanted) for p in self.processors))


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of boards and variants that may be compared with one another, most accurate variant last."""

    title: Name
    family: Name
    variants: tuple[PublishedVariant, ...]
    boards: tuple[PublishedBoard, ...]

    def board(self, name: str) -> PublishedBoard:
        """The board of that name. Raises UsageError, which lists those that there are."""
        for board in self.boards:
            if board.name == name:
                return board
        raise UsageError(f"no published board {name!r}; known: {', '.join(board.name for board in self.boards)}")

    def cluster(
        self, boards: Iterable[str], *, family: str = "", processors: dict[str, tuple[str, ...]] | None = None
    ) -> Cluster:
        """These boards as a cluster, with the variants that were measured on every one of them.

        family       only variants whose names begin so
        processors   only these processors of a board; all of them where a board is not named

        Raises UsageError if a board is unknown, or no variant was measured on all of them.
        """
        chosen = [_only(self.board(name), (processors or {}).get(name)) for name in boards]
        measured = [set().union(*(p.item_ms for p in board.processors)) for board in chosen]
        shared = set.intersection(*measured) if measured else set()
        variants = [v for v in self.variants if v.name in shared and v.name.startswith(family)]
        if not variants:
            raise UsageError(f"no variant {family}... was measured on all of {', '.join(b.name for b in chosen)}")
        names = [v.name for v in variants]
        return Cluster(
            family=self.family,
            variants=tuple(
                Variant(name=v.name, accuracy=v.accuracy, accuracy_items=v.accuracy_items) for v in variants
            ),
            nodes=tuple(board.node(names) for board in chosen),
        )


def _processor(published: PublishedProcessor, variants: list[str]) -> Processor:
    known = [v for v in variants if v in published.item_ms]
    profiles = (Profile(variant=v, latency_s={1: published.item_ms[v] / 1000}) for v in known)
    return Processor(name=published.name, profiles=tuple(profiles))


def _only(board: PublishedBoard, processors: tuple[str, ...] | None) -> PublishedBoard:
    if processors is None:
        return board
    return msgspec.structs.replace(board, processors=tuple(p for p in board.processors if p.name in processors))


@cache
def published(name: str) -> Catalogue:
    """The shipped set of that name, one of SETS."""
    text = (resources.files(__package__) / "published" / f"{name}.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Catalogue)
