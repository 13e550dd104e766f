"""What travels: items as they are, or fitted to a variant's input where that is smaller and the link slow.

A photograph of megabytes becomes a model's input of some 100 kilobytes. Whether that is made of it on the node or here
is the same code and gives the same answers; here it takes this machine's time, and saves the link's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from equipoise.core.cluster import Link
from equipoise.core.family import Family, InputSpec
from equipoise.engines.processors import usable_cpus
from equipoise.fabric.messages import DescribeMessage
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import blank, fitted
from equipoise.profiling.preparation import fit_times_s

_MOST_THREADS = 4


@dataclass(kw_only=True)
class Fitting:
    """To which nodes a family's items go fitted to their variant, and what they then take on the way.

    `fit_s` is what it takes on one of `threads` to fit a sample that becomes smaller by it. A node's items are fitted
    if what that saves would keep its link for longer than fitting keeps this machine, which does so for the nodes with
    slower links, too. Written on the event loop's thread, read on any.
    """

    family: Family
    samples: Sequence[bytes] = ()
    fit_s: float = 0.0
    threads: int = 1
    _links: dict[str, Link] = field(default_factory=dict)  # of the nodes whose items are fitted

    @classmethod
    def measured(cls, family: Family, samples: Sequence[bytes]) -> Fitting:
        """With what fitting takes here; nothing is measured, and nothing fitted, if no sample would become smaller.

        To which input hardly matters: what takes long is reading a large item.
        """
        inputs = sorted((model.input for model in family.models), key=_fitted_bytes)
        seconds = fit_times_s([item for item in samples if len(item) > _fitted_bytes(inputs[0])], inputs[-1])
        return cls(
            family=family,
            samples=samples,
            fit_s=fmean(seconds) if seconds else math.inf,
            threads=min(len(usable_cpus()), _MOST_THREADS),
        )

    def choose(self, links: Mapping[str, Link]) -> None:
        """Decide for nodes on these links, the slowest first."""
        for node, link in sorted(links.items(), key=lambda one: one[1].bandwidth_bytes_per_s):
            self.consider(node, link)

    def consider(self, node: str, link: Link) -> None:
        """Decide for a node on this link, beside those that were chosen."""
        self._links.pop(node, None)
        saved_bytes = fmean(self.item_bytes - size_bytes for size_bytes in self._travel_bytes.values())
        fit_s = (len(self._links) + 1) * fmean(self._fit_s.values())
        if saved_bytes > link.bandwidth_bytes_per_s * fit_s:
            self._links[node] = link

    @property
    def nodes(self) -> tuple[str, ...]:
        """Those whose items are fitted."""
        return tuple(self._links)

    @property
    def item_bytes(self) -> float:
        """What an item takes as it is."""
        return fmean(map(len, self.samples)) if self.samples else 0.0

    def input_bytes(self, node: str) -> dict[str, int]:
        """What an item takes on its way to a node whose items are fitted, by variant; empty for others.

        The way begins here. Where fitting, for all such nodes in turn, takes longer than the link, that is what keeps
        items from coming faster: they count as large as what the link would carry meanwhile.
        """
        link = self._links.get(node)
        if link is None:
            return {}
        meanwhile_bytes = link.bandwidth_bytes_per_s * len(self._links)
        return {
            variant: round(max(size_bytes, meanwhile_bytes * self._fit_s[variant]))
            for variant, size_bytes in self._travel_bytes.items()
        }

    def question(self, node: str) -> DescribeMessage:
        """What to ask a node for, so that its profiles are those for items as they will be sent."""
        identity, fits = identity_of(self.family), node in self._links
        largest_bytes = max(_fitted_bytes(model.input) for model in self.family.models)
        sent = tuple(item for item in self.samples if not fits or len(item) <= largest_bytes)
        return DescribeMessage(family=identity, samples=sent, fits=fits, left_out=len(self.samples) - len(sent))

    def payload(self, node: str, variant: str, item: bytes) -> bytes:
        """The item as it travels. Raises InputError if it has to be read for that, and cannot be."""
        if node not in self._links:
            return item
        spec = self.family.model(variant).input
        return fitted(item, spec) if len(item) > _fitted_bytes(spec) else item

    @cached_property
    def _travel_bytes(self) -> dict[str, float]:
        """By variant what an item takes that is fitted if that is smaller."""
        return {
            model.name: fmean(min(len(item), _fitted_bytes(model.input)) for item in self.samples or (b"",))
            for model in self.family.models
        }

    @cached_property
    def _fit_s(self) -> dict[str, float]:
        """By variant the seconds per item for which all of this machine fits."""
        return {
            model.name: larger / len(self.samples) * self.fit_s / self.threads if larger else 0.0
            for model in self.family.models
            for larger in [sum(len(item) > _fitted_bytes(model.input) for item in self.samples)]
        }


def _fitted_bytes(spec: InputSpec) -> int:
    return len(blank(spec))
