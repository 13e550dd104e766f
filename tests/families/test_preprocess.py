from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.core.family import InputSpec
from equipoise.errors import InputError
from equipoise.families.preprocess import MAX_PIXELS, pack_array, prepare, unpack_array


def image_spec(**changes: Any) -> InputSpec:
    return InputSpec(**({"kind": "image", "tensor": "x", "dtype": "uint8", "size_px": 8} | changes))


def tensor_spec(*shape: int, dtype: Any = "float32") -> InputSpec:
    return InputSpec(kind="tensor", tensor="x", dtype=dtype, shape=shape)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def plain(color: Any, mode: str = "RGB", size: tuple[int, int] = (20, 10)) -> Image.Image:
    return Image.new(mode, size, color)


def pixel(payload: bytes, **changes: Any) -> list[float]:
    """The middle pixel of what comes out."""
    return list(prepare(payload, image_spec(**changes))[4, 4])


# What comes out


@pytest.mark.parametrize("resize", ["stretch", "shorter-side", "letterbox"])
@pytest.mark.parametrize("color", ["RGB", "BGR", "L"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@given(width=st.integers(1, 300), height=st.integers(1, 300))
@settings(max_examples=10)
def test_every_image_comes_out_in_shape_and_dtype(layout: str, color: str, resize: str, width: int, height: int):
    spec = image_spec(layout=layout, color=color, resize=resize, dtype="float32", std=255.0)

    tensor = prepare(pack_array(np.zeros((height, width, 3), np.uint8)), spec)

    assert (tensor.shape, tensor.dtype) == (spec.item_shape, np.float32)
    assert tensor.flags.c_contiguous


@pytest.mark.parametrize(("color", "expected"), [("RGB", [10, 20, 30]), ("BGR", [30, 20, 10]), ("L", [18])])
def test_channels_come_in_the_order_that_the_model_wants(color: str, expected: list[int]):
    assert pixel(encoded(plain((10, 20, 30))), color=color) == expected


def test_pixels_are_scaled_then_normalised_per_channel():
    payload = encoded(plain((51, 102, 255)))

    values = pixel(payload, dtype="float32", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.25))

    assert values == pytest.approx([0.2, 0.4, 2.8], abs=1e-5)


def test_a_signed_model_gets_pixels_rounded_and_kept_in_range():
    assert pixel(encoded(plain((0, 130, 255))), dtype="int8", mean=128.0) == [-128, 2, 127]
    assert pixel(encoded(plain((0, 130, 255))), dtype="int8") == [0, 127, 127]


def test_an_image_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)

    assert (prepare(encoded(Image.fromarray(pixels)), image_spec()) == pixels).all()


def test_resizing_is_pillows_bilinear():
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (37, 53, 3), dtype=np.uint8))

    expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))

    assert (prepare(encoded(image), image_spec()) == expected).all()


def stripes() -> Image.Image:
    """A wide image: red, green and blue thirds."""
    image = plain("lime", size=(24, 8))
    image.paste("red", (0, 0, 8, 8))
    image.paste("blue", (16, 0, 24, 8))
    return image


def test_stretch_keeps_the_whole_image():
    tensor = prepare(encoded(stripes()), image_spec(resize="stretch"))

    assert [tensor[4, column].argmax() for column in (0, 4, 7)] == [0, 1, 2]


def test_shorter_side_cuts_out_the_centre():
    tensor = prepare(encoded(stripes()), image_spec(resize="shorter-side"))

    assert (tensor == (0, 255, 0)).all()


def test_letterbox_fills_up_with_black():
    tensor = prepare(encoded(stripes()), image_spec(resize="letterbox"))

    assert (tensor[[0, 7]] == 0).all()
    assert [tensor[4, column].argmax() for column in (0, 4, 7)] == [0, 1, 2]


def test_a_photo_taken_sideways_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the right edge is the top
    payload = encoded(stripes(), "PNG", exif=exif)

    tensor = prepare(payload, image_spec())

    assert [tensor[row, 4].argmax() for row in (0, 4, 7)] == [0, 1, 2]


# What goes in


@pytest.mark.parametrize("format_", ["BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_usual_formats_are_read(format_: str):
    assert pixel(encoded(plain((200, 200, 200)), format_)) == pytest.approx([200, 200, 200], abs=3)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (plain(100, "L"), (100, 100, 100)),
        (plain(1, "1"), (255, 255, 255)),
        (plain((200, 0, 0, 255), "RGBA"), (200, 0, 0)),
        (plain((200, 0, 0, 0), "RGBA"), (255, 255, 255)),  # fully transparent: white shines through
        (plain((100, 0), "LA"), (255, 255, 255)),
        (plain((200, 100, 50)).quantize(4), (200, 100, 50)),
        (Image.fromarray(np.full((10, 20), 100 * 256 + 7, np.uint16)), (100, 100, 100)),
    ],
    ids=["grey", "black and white", "opaque", "transparent", "grey transparent", "palette", "16 bits"],
)
def test_other_modes_become_rgb(image: Image.Image, expected: tuple[int, ...]):
    assert pixel(encoded(image)) == pytest.approx(expected, abs=1)


def test_a_palette_with_transparency_is_laid_over_white():
    image = plain(0, "P")
    image.putpalette([9, 9, 9] * 256)

    assert pixel(encoded(image, transparency=b"\0" * 256)) == [255, 255, 255]


def test_cmyk_jpegs_become_rgb():
    assert pixel(encoded(plain((0, 255, 255, 0), "CMYK"), "JPEG")) == pytest.approx([255, 0, 0], abs=3)


def test_of_an_animation_the_first_frame_counts():
    payload = encoded(plain("red"), "GIF", save_all=True, append_images=[plain("blue")])

    assert pixel(payload) == [255, 0, 0]


@pytest.mark.parametrize("shape", [(10, 20), (10, 20, 1), (10, 20, 3), (10, 20, 4)])
def test_raw_arrays_are_images_too(shape: tuple[int, ...]):
    assert pixel(pack_array(np.full(shape, 255, np.uint8))) == [255, 255, 255]


def test_a_tensor_is_passed_on_as_it_is():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    assert (prepare(pack_array(array), tensor_spec(2, 3)) == array).all()
    assert (prepare(pack_array(array[np.newaxis]), tensor_spec(2, 3)) == array).all()
    assert (prepare(pack_array(np.asfortranarray(array)), tensor_spec(2, 3)) == array).all()


def test_a_tensor_of_double_precision_is_made_single():
    assert prepare(pack_array(np.ones(3)), tensor_spec(3)).dtype == np.float32


# What is refused


def refusal(payload: bytes, spec: InputSpec | None = None) -> str:
    with pytest.raises(InputError) as refused:
        prepare(payload, spec or image_spec())
    return str(refused.value)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_an_empty_payload_is_refused():
    assert refusal(b"") == "is empty"


def test_what_is_no_image_is_refused_with_the_formats_that_are_read():
    assert "JPEG" in refusal(b"hello, I am a text file")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_a_truncated_image_is_refused(format_: str):
    noise = Image.fromarray(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    payload = encoded(noise, format_)

    assert refusal(payload[: len(payload) // 2])


@pytest.mark.parametrize("side", [8193, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_goes_off(side: int):
    assert side * side > MAX_PIXELS

    assert "pixels" in refusal(png_that_claims(side, side))


def test_an_array_that_claims_more_than_it_brings_is_refused_without_allocating_it():
    payload = pack_array(np.zeros((10, 20), np.uint8)).replace(b"(10, 20)", b"(10**9,)")
    header = pack_array(np.zeros((10, 20), np.uint8)).replace(b"(10, 20), ", b"(9999999,)")

    assert "no readable .npy" in refusal(payload)
    assert "according to its header" in refusal(header)


def test_pickled_objects_are_never_loaded():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)

    assert "only plain numbers" in refusal(buffer.getvalue())


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 4), np.float32), "uint8"),
        (np.zeros((4,), np.uint8), "height x width"),
        (np.zeros((4, 4, 2), np.uint8), "height x width"),
        (np.zeros((0, 4, 3), np.uint8), "height x width"),
        (np.zeros((1, 4, 4, 3), np.uint8), "height x width"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array: np.ndarray, says: str):
    assert says in refusal(pack_array(array))


def test_a_raw_image_can_be_too_large_as_well():
    assert "pixels" in refusal(pack_array(np.zeros((1, MAX_PIXELS + 1), np.uint8)))


def test_floating_point_pixels_are_refused():
    assert "floating-point" in refusal(encoded(plain(0.5, "F"), "TIFF"))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 2), np.float32), "shape (3, 2)"),
        (np.zeros((2, 3), np.complex64), "only plain numbers"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(array: np.ndarray, says: str):
    assert says in refusal(pack_array(array), tensor_spec(2, 3))


def test_floats_are_not_silently_cut_to_integers():
    assert "dtype float32" in refusal(pack_array(np.zeros(3, np.float32)), tensor_spec(3, dtype="uint8"))


def test_an_image_is_no_tensor():
    assert "no .npy" in refusal(encoded(plain("red")), tensor_spec(2, 3))


NOISE = Image.fromarray(np.random.default_rng(4).integers(0, 256, (24, 24, 3), dtype=np.uint8))
GOOD = [
    encoded(NOISE, "JPEG"),
    encoded(NOISE, "PNG"),
    encoded(NOISE, "GIF"),
    encoded(NOISE, "TIFF", compression="tiff_lzw"),
    encoded(NOISE, "WEBP"),
    encoded(NOISE, "PPM"),
    pack_array(np.asarray(NOISE)),
]


@given(
    payload=st.sampled_from(GOOD),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    kept=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_give_an_image_or_a_reason_and_nothing_else(
    payload: bytes, damage: list[tuple[float, int]], kept: float
):
    damaged = bytearray(payload)
    for place, value in damage:
        damaged[int(place * min(len(damaged), 200))] = value  # headers are where damage does most

    try:
        tensor = prepare(bytes(damaged[: int(len(damaged) * kept)]), image_spec())
    except InputError as reason:
        assert str(reason)
    else:
        assert tensor.shape == (8, 8, 3)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_array_or_a_reason(payload: bytes):
    try:
        unpack_array(payload)
    except InputError as reason:
        assert str(reason)
