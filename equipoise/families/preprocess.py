"""From the bytes of one item to the tensor that a model takes.

A payload is an encoded image (BMP, GIF, JPEG, PNG, PPM, TIFF or WebP; of several frames the first) or a `.npy`
file with one array: a raw uint8 image of shape (height, width) or (height, width, channels) in RGB order, or
for models that take tensors the tensor itself.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from equipoise.core.family import InputSpec
from equipoise.errors import InputError

Array = NDArray[Any]

MAX_PIXELS = 64 * 2**20  # 192 MiB once decoded: what a small board can bear
NPY_MAGIC = b"\x93NUMPY"

# numpy parses headers with ast.literal_eval, which CPython before 3.13 counts on to be alone in the process: from two
# threads at once it raises SystemError now and then (python/cpython issue 106905).
ONE_NPY_HEADER = threading.Lock()

IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Formats whose decoders only read pixels; Pillow's EPS reader, say, starts an interpreter.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Pillow warns of very large images before their size can be looked at; its manual advises to make that an error.
warnings.simplefilter("error", Image.DecompressionBombWarning)


def prepare(payload: bytes, spec: InputSpec) -> Array:
    """The item's tensor, of shape `spec.item_shape` and the model's dtype, without batch axis.

    Images are turned upright by their EXIF orientation, transparency is laid over white, 16-bit grey keeps its
    upper 8 bits. Resizing is bilinear with antialiasing (Pillow's): "stretch" takes the whole image,
    "shorter-side" scales the shorter side to size_px and cuts out the centre, "letterbox" scales the longer
    side and fills up with black. Raises InputError with the reason if the payload is empty, unreadable,
    truncated, too large or does not fit.
    """
    if spec.kind == "tensor":
        return _as_tensor(payload, spec)
    return _to_tensor(_fitted_image(payload, spec), spec)


def fitted(payload: bytes, spec: InputSpec) -> bytes:
    """The item as a `.npy` array that fits the input: an image's pixels at the model's size, a tensor in its dtype.

    `prepare` makes the same tensor of it, to the bit, in next to no time. All are as long as `blank`.
    Raises InputError as `prepare` does.
    """
    if spec.kind == "tensor":
        return pack_array(_as_tensor(payload, spec))
    return pack_array(np.asarray(_fitted_image(payload, spec)))


@lru_cache(maxsize=64)
def blank(spec: InputSpec) -> bytes:
    """An item that fits the input, with nothing in it."""
    if spec.kind == "tensor":
        return pack_array(np.zeros(spec.item_shape, spec.dtype))
    side = spec.size_px or 0
    return pack_array(np.zeros((side, side) if spec.color == "L" else (side, side, 3), np.uint8))


def pack_array(array: Array) -> bytes:
    """The array as the bytes of a `.npy` file: how one row of a larger array travels as an item."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def unpack_array(payload: bytes) -> Array:
    """The array of numbers in the bytes of a `.npy` file, read-only and without copying. Raises InputError.

    Never unpickles, and never allocates what the header claims but the payload lacks.
    """
    shape, fortran_order, dtype, start = _npy_header(payload)
    if dtype.kind not in "biuf":
        raise InputError(f"is a .npy array of dtype {dtype}; only plain numbers are read")
    claimed, present = math.prod(shape) * dtype.itemsize, len(payload) - start
    if claimed != present:
        raise InputError(f"is a .npy array of {claimed} bytes according to its header, but {present} bytes follow it")
    order = "F" if fortran_order else "C"
    return np.frombuffer(payload, dtype=dtype, offset=start).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _npy_header(payload: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order, dtype, and where the numbers begin."""
    end = 10 + int.from_bytes(payload[8:10], "little")  # format version 1.0, which has two bytes for the length
    return _parsed_npy_header(payload[:end] if payload[6:8] == b"\x01\x00" else payload)


@lru_cache(maxsize=256)  # rows of one array travel as items with the same header, and parsing it is the larger part
def _parsed_npy_header(payload: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    stream = io.BytesIO(payload)
    try:
        read_header = readers[np.lib.format.read_magic(stream)]
        with ONE_NPY_HEADER:
            shape, fortran_order, dtype = read_header(stream)
    except Exception as error:  # a parser fed with damaged bytes raises anything; the reason is passed on
        raise InputError(f"is no readable .npy array: {error}") from error
    if any(side < 0 for side in shape):
        raise InputError(f"is a .npy array of impossible shape {shape}")
    return shape, fortran_order, dtype, stream.tell()


def _fitted_image(payload: bytes, spec: InputSpec) -> Image.Image:
    _refuse_empty(payload)
    image = _image_of(unpack_array(payload)) if payload.startswith(NPY_MAGIC) else _decoded(payload)
    return _resized(_in_color(image, spec.color), spec)


def _refuse_empty(payload: bytes) -> None:
    if not payload:
        raise InputError("is empty")


def _as_tensor(payload: bytes, spec: InputSpec) -> Array:
    _refuse_empty(payload)
    if not payload.startswith(NPY_MAGIC):
        raise InputError("is no .npy array, which this model takes")
    array = unpack_array(payload)
    if array.shape == (1, *spec.item_shape):
        array = array[0]
    if array.shape != spec.item_shape:
        raise InputError(f"has shape {array.shape}, but the model takes {spec.item_shape}")
    if not np.can_cast(array.dtype, spec.dtype, casting="same_kind"):
        raise InputError(f"has dtype {array.dtype}, but the model takes {spec.dtype}")
    return np.ascontiguousarray(array, dtype=spec.dtype)


def _image_of(array: Array) -> Image.Image:
    if array.dtype != np.uint8:
        raise InputError(f"is a raw image of dtype {array.dtype}; pixels must be uint8")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise InputError(f"is a raw image of shape {array.shape}; it must be height x width (x 1, 3 or 4 channels)")
    _refuse_too_large(array.shape[1], array.shape[0])
    return Image.fromarray(np.ascontiguousarray(array))


def _decoded(payload: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(payload), formats=_FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(_FORMATS)
        raise InputError(f"is no image of a known format ({known}), and no .npy array") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"is too large an image: {error}") from error
    except Exception as error:  # a decoder fed with damaged bytes raises anything; the reason is passed on
        raise InputError(f"cannot be read as an image: {error}") from error
    _refuse_too_large(image.width, image.height)
    try:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # as above
        raise InputError(f"is a damaged {image.format} image: {error}") from error
    return image


def _refuse_too_large(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"is an image of {width} x {height} pixels; at most {MAX_PIXELS} pixels are decoded")


def _in_color(image: Image.Image, color: str) -> Image.Image:
    mode = "L" if color == "L" else "RGB"
    if image.mode == mode:
        return image
    if image.mode == "F":
        raise InputError("has floating-point pixels, of which nobody knows which value is white; convert it to 8 bits")
    if image.mode.startswith("I"):
        sixteen_bits = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray((sixteen_bits >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    try:
        return image.convert(mode)
    except ValueError as error:
        raise InputError(f"has pixels of mode {image.mode}, which cannot be converted to {mode}: {error}") from error


def _resized(image: Image.Image, spec: InputSpec) -> Image.Image:
    side = spec.item_shape[0] if spec.layout == "NHWC" else spec.item_shape[1]
    if image.size == (side, side):
        return image
    match spec.resize:
        case "stretch":
            return image.resize((side, side), Image.Resampling.BILINEAR)
        case "shorter-side":
            return ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
        case "letterbox":
            return _letterboxed(image, side)


def _letterboxed(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))  # a line of pixels stays a line
    padded = Image.new(image.mode, (side, side))
    padded.paste(image.resize(size, Image.Resampling.BILINEAR), ((side - size[0]) // 2, (side - size[1]) // 2))
    return padded


def _to_tensor(image: Image.Image, spec: InputSpec) -> Array:
    pixels: Array = np.asarray(image)
    if spec.color == "L":
        pixels = pixels[:, :, np.newaxis]
    elif spec.color == "BGR":
        pixels = pixels[:, :, ::-1]
    if spec.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    pixels = np.ascontiguousarray(pixels)
    if spec.normalises or spec.dtype == "int8":
        pixels = _normalised(pixels, spec)
    return np.asarray(pixels, dtype=spec.dtype)


def _normalised(pixels: Array, spec: InputSpec) -> Array:
    std = np.asarray(spec.std, dtype=np.float32)
    values: NDArray[np.float32] = pixels * _spread(np.float32(spec.scale) / std, spec)
    values -= _spread(np.asarray(spec.mean, dtype=np.float32) / std, spec)
    if spec.dtype in ("uint8", "int8"):
        limits = np.iinfo(spec.dtype)
        return np.asarray(np.rint(values).clip(limits.min, limits.max))
    return values


def _spread(per_channel: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """One number per channel in a shape that fits an item; numpy is ten times slower at rows of just 3 numbers."""
    if spec.layout == "NCHW":
        return per_channel.reshape(-1, 1, 1)
    return np.array(np.broadcast_to(per_channel, spec.item_shape[1:]))
