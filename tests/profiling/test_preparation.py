from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from equipoise.core.family import Family
from equipoise.families.preprocess import blank, pack_array, prepare
from equipoise.profiling import preparation
from equipoise.profiling.preparation import fit_times_s, prepare_times_s

SMALL = pack_array(np.zeros((8, 8, 3), np.uint8))


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 900), "green").save(buffer, "BMP")
    return buffer.getvalue()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[bytes]]:
    """From now on preparing takes so many seconds by the clock; which payloads were, one entry for each time."""
    seen: list[bytes] = []

    def slow(seconds: float) -> list[bytes]:
        now_s = [0.0]

        def prepare_slowly(payload: bytes, *more: object) -> object:
            seen.append(payload)
            now_s[0] += seconds
            return prepare(payload, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(preparation, "prepare", prepare_slowly)
        monkeypatch.setattr(preparation.time, "perf_counter", lambda: now_s[0])
        return seen

    return slow


def test_every_variant_has_its_time(tiny_family: Family):
    times_s = prepare_times_s(tiny_family, [photo(), SMALL])

    assert set(times_s) == {"small", "large"}
    assert min(times_s.values()) > 0


def test_what_cannot_be_read_is_passed_over(tiny_family: Family):
    assert prepare_times_s(tiny_family, [b"junk"]) == {}
    assert set(prepare_times_s(tiny_family, [b"junk", SMALL])) == {"small", "large"}
    assert len(fit_times_s([b"junk", SMALL], tiny_family.model("large").input)) == 1


def test_large_items_are_prepared_once_and_only_a_few_of_them(
    tiny_family: Family, looks: Callable[[float], list[bytes]]
):
    seen = looks(0.15)

    times_s = prepare_times_s(tiny_family, [SMALL, photo(), photo() + b" ", photo() + b"  "])

    assert times_s == pytest.approx({"small": 0.15, "large": 0.15})
    assert len(seen) == 2 * len(tiny_family.models)


def test_samples_that_would_be_fitted_are_not_prepared_as_they_are(
    tiny_family: Family, looks: Callable[[float], list[bytes]]
):
    seen = looks(0.15)

    times_s = prepare_times_s(tiny_family, [photo(), SMALL], fits=True, left_out=2)

    assert photo() not in seen
    assert set(seen) == {SMALL}
    assert set(times_s) == {"small", "large"}
    assert max(times_s.values()) < 0.15  # one of four is prepared, the others are there in no time


def test_items_of_which_none_is_sent_take_what_fitted_ones_take(tiny_family: Family):
    assert set(prepare_times_s(tiny_family, [], fits=True, left_out=3)) == {"small", "large"}
    assert len(blank(tiny_family.model("small").input)) == len(SMALL)
