from __future__ import annotations

import numpy as np
import pytest

from equipoise.core.cluster import Link
from equipoise.core.family import Family
from equipoise.errors import InputError
from equipoise.families.identity import identity_of
from equipoise.families.preprocess import blank, pack_array, prepare
from equipoise.runtime.fitting import Fitting

PHOTO = pack_array(np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8))
ICON = pack_array(np.zeros((6, 6, 3), np.uint8))
SLOW, FAST = (Link(bandwidth_bytes_per_s=rate) for rate in (1e5, 1e9))


def fitting(family: Family, *samples: bytes, fit_s: float = 0.1, threads: int = 1) -> Fitting:
    return Fitting(family=family, samples=samples or (PHOTO,), fit_s=fit_s, threads=threads)


def size(family: Family, variant: str) -> int:
    return len(blank(family.model(variant).input))


def test_items_are_fitted_where_sending_less_saves_more_time_than_it_takes(tiny_family: Family):
    chosen = fitting(tiny_family, fit_s=0.003)

    chosen.choose({"fast": FAST, "slow": SLOW, "instant": Link()})

    assert chosen.nodes == ("slow",)
    assert chosen.input_bytes("fast") == {}
    assert chosen.input_bytes("slow") == {name: size(tiny_family, name) for name in ("small", "large")}


def test_every_further_node_is_charged_for_those_that_this_machine_already_fits_for(tiny_family: Family):
    link = Link(bandwidth_bytes_per_s=len(PHOTO) / 0.25)  # a photo takes 0.25 s: time to fit two
    chosen = fitting(tiny_family, fit_s=0.1)

    chosen.choose(dict.fromkeys("abcde", link))

    assert chosen.nodes == ("a", "b")
    assert chosen.input_bytes("a")["small"] == pytest.approx(link.bandwidth_bytes_per_s * 0.2, rel=1e-3)


def test_more_threads_fit_for_more_nodes(tiny_family: Family):
    link = Link(bandwidth_bytes_per_s=len(PHOTO) / 0.25)
    chosen = fitting(tiny_family, fit_s=0.1, threads=2)

    chosen.choose(dict.fromkeys("abcde", link))

    assert chosen.nodes == ("a", "b", "c", "d")


def test_a_node_that_comes_later_is_decided_for_and_one_whose_link_got_fast_is_decided_for_again(tiny_family: Family):
    chosen = fitting(tiny_family)
    chosen.choose({"a": SLOW})

    chosen.consider("b", SLOW)
    assert chosen.nodes == ("a", "b")
    chosen.consider("a", FAST)
    assert chosen.nodes == ("b",)


def test_items_that_are_small_already_travel_as_they_are(tiny_family: Family):
    chosen = Fitting.measured(tiny_family, [ICON])

    chosen.choose({"slow": SLOW})

    assert chosen.nodes == ()
    assert chosen.payload("slow", "large", PHOTO) == PHOTO


def test_of_mixed_items_each_travels_in_its_smaller_form(tiny_family: Family):
    chosen = fitting(tiny_family, PHOTO, ICON)
    chosen.choose({"slow": SLOW})

    assert chosen.payload("slow", "small", ICON) == ICON
    assert len(chosen.payload("slow", "small", PHOTO)) == size(tiny_family, "small")
    assert len(chosen.payload("slow", "large", PHOTO)) == size(tiny_family, "large")
    assert chosen.payload("elsewhere", "small", PHOTO) == PHOTO
    assert chosen.item_bytes == (len(PHOTO) + len(ICON)) / 2
    assert chosen.input_bytes("slow")["large"] == round((size(tiny_family, "large") + len(ICON)) / 2)


def test_what_was_fitted_for_one_variant_is_never_sent_for_another(tiny_family: Family):
    chosen = fitting(tiny_family)
    chosen.choose({"slow": SLOW})

    for variant in ("small", "large", "small"):
        spec = tiny_family.model(variant).input
        found = prepare(chosen.payload("slow", variant, PHOTO), spec)
        assert found.tobytes() == prepare(PHOTO, spec).tobytes()


def test_what_has_to_be_read_for_fitting_and_cannot_be_is_refused_here(tiny_family: Family):
    chosen = fitting(tiny_family)
    chosen.choose({"slow": SLOW})

    with pytest.raises(InputError, match="no image"):
        chosen.payload("slow", "small", b"junk" * 10_000)


def test_a_node_is_asked_what_items_cost_as_they_will_be_sent(tiny_family: Family):
    chosen = fitting(tiny_family, PHOTO, ICON, PHOTO)
    chosen.choose({"slow": SLOW, "fast": FAST})

    fast, slow = chosen.question("fast"), chosen.question("slow")

    assert (fast.family, fast.samples, fast.fits, fast.left_out) == (
        identity_of(tiny_family), (PHOTO, ICON, PHOTO), False, 0,
    )  # fmt: skip
    assert (slow.samples, slow.fits, slow.left_out) == ((ICON,), True, 2)


def test_how_long_fitting_takes_is_measured_on_the_items_themselves(tiny_family: Family):
    chosen = Fitting.measured(tiny_family, [PHOTO, ICON])

    assert 0 < chosen.fit_s < 10
    assert chosen.threads >= 1


def test_nothing_is_fitted_if_no_sample_can_be_read(tiny_family: Family):
    chosen = Fitting.measured(tiny_family, [b"junk" * 100_000])

    chosen.choose({"slow": SLOW})

    assert chosen.nodes == ()


def test_without_samples_nothing_is_known_and_nothing_fitted(tiny_family: Family):
    chosen = Fitting.measured(tiny_family, [])

    chosen.choose({"slow": SLOW})

    assert (chosen.nodes, chosen.item_bytes) == ((), 0)
