"""Items that are fitted to an input before they travel: what comes out of them must be the same, to the bit."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.core.family import InputSpec
from equipoise.errors import InputError
from equipoise.families.preprocess import blank, fitted, pack_array, prepare

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
NORMALISED = {"dtype": "float32", "scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
INPUTS: tuple[dict[str, Any], ...] = (
    {"dtype": "uint8"},
    {"dtype": "int8", "mean": 128.0},
    {"dtype": "float16", "scale": 1 / 255},
    NORMALISED,
)


def image_spec(**changes: Any) -> InputSpec:
    return InputSpec(**({"kind": "image", "tensor": "x", "dtype": "uint8", "size_px": 24} | changes))


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def noise(width: int, height: int, seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def assert_same(payload: bytes, spec: InputSpec) -> None:
    small = fitted(payload, spec)

    assert len(small) == len(blank(spec))
    for again in (small, fitted(small, spec)):
        right, found = prepare(payload, spec), prepare(again, spec)
        assert (found.dtype, found.shape, found.tobytes()) == (right.dtype, right.shape, right.tobytes())


SPECS = st.builds(
    lambda resize, layout, color, input_: image_spec(resize=resize, layout=layout, color=color, **input_),
    st.sampled_from(["stretch", "shorter-side", "letterbox"]),
    st.sampled_from(["NHWC", "NCHW"]),
    st.sampled_from(["RGB", "BGR"]),
    st.sampled_from(INPUTS),
)
IMAGES = st.builds(noise, st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))


@given(pixels=IMAGES, format_=st.sampled_from(FORMATS), spec=SPECS)
@settings(max_examples=200)
def test_a_fitted_image_becomes_the_very_tensor_that_its_file_becomes(
    pixels: np.ndarray, format_: str, spec: InputSpec
):
    assert_same(encoded(Image.fromarray(pixels), format_), spec)


@pytest.mark.parametrize("spec", [image_spec(), image_spec(color="L"), image_spec(color="L", dtype="float32", std=3.0)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_so_does_one_whose_pixels_are_no_colours(mode: str, spec: InputSpec):
    if mode == "I;16":
        image = Image.fromarray(np.random.default_rng(1).integers(0, 65536, (50, 40), dtype=np.uint16))
    else:
        image = Image.fromarray(noise(40, 50, 1, 4)).convert(mode)

    assert_same(encoded(image, "TIFF" if mode == "CMYK" else "PNG"), spec)


def test_so_does_one_that_lies_on_its_side():
    exif = Image.Exif()
    exif[0x0112] = 6

    assert_same(encoded(Image.fromarray(noise(60, 30, 2)), "JPEG", exif=exif.tobytes()), image_spec(resize="letterbox"))


def test_so_does_a_row_of_pixels():
    assert_same(pack_array(noise(70, 40, 3)), image_spec(**NORMALISED))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_a_tensor_is_fitted_by_giving_it_the_dtype_of_the_model(dtype: str):
    spec = InputSpec(kind="tensor", tensor="x", dtype="float16", shape=(3, 5))
    rows = np.random.default_rng(4).normal(0, 100, (3, 5)).astype(dtype)

    assert_same(pack_array(rows), spec)
    assert_same(pack_array(rows[np.newaxis]), spec)


@pytest.mark.parametrize(
    "payload", [b"", b"junk", pack_array(np.zeros(3)), encoded(Image.new("RGB", (9, 9)), "PNG")[:40]]
)
@pytest.mark.parametrize("spec", [image_spec(), InputSpec(kind="tensor", tensor="x", dtype="uint8", shape=(2,))])
def test_what_cannot_be_prepared_cannot_be_fitted_for_the_same_reason(payload: bytes, spec: InputSpec):
    with pytest.raises(InputError) as prepared:
        prepare(payload, spec)
    with pytest.raises(InputError) as refused:
        fitted(payload, spec)

    assert str(refused.value) == str(prepared.value)
