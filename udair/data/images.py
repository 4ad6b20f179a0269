"""Encoded bytes to RGB arrays and back, with limits: customers' images are not trusted.

Whatever comes in, (H, W, 3) uint8 RGB comes out, upright: grey, wider samples, palette, RGBA and CMYK are
converted, EXIF rotation is applied. What cannot be decoded is refused with a reason from `REASONS`.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from udair.data.samples import check_depth, grey8, is_wide
from udair.data.structure import check_structure, check_tile, declared_size, other_format
from udair.errors import ConfigError, ImageError

REASONS = (
    "NOT_AN_IMAGE",
    "UNSUPPORTED",
    "TRUNCATED",
    "TOO_MANY_BYTES",
    "TOO_MANY_PIXELS",
    "TOO_SMALL",
    "TOO_COSTLY",
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")

# Of zlib: of restored photographs 2 takes 18 ms a 512 x 512 where 4 takes 32, and 1 % more bytes (docs/log.md).
PNG_LEVEL = 2

_TILE_SIDES = (322, 323)  # of TIFF
_ORIENTATION = 0x0112

ImageArray = npt.NDArray[np.uint8]

# What puts a stored picture upright, by EXIF's number.
_TURNS: dict[int, Callable[[ImageArray], ImageArray]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.swapaxes(0, 1),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].swapaxes(0, 1),
    8: lambda rgb: np.rot90(rgb),
}


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding is willing to spend on one image.

    Attributes:
        max_bytes: Largest encoded size.
        max_pixels: Largest width times height, read from the header before any pixel is decoded.
        min_side: Shortest side that is still an image, in pixels.
        processor_s: Processor time of one image, where a door decodes (`udair.data.door`).
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    min_side: int = 8
    processor_s: int = 10

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "min_side", "processor_s"):
            if getattr(self, name) < 1:
                raise ConfigError(f"decode.{name} is {getattr(self, name)}; expected 1 or more.")


def decode(data: bytes, limits: DecodeLimits | None = None) -> ImageArray:
    """Decode one image to (H, W, 3) uint8 RGB, upright; of several in a file, the first.

    In this process, with no bound on time or memory but those of the limits: bytes from outside go
    through a door (`udair.data.door`).

    Args:
        data: Encoded bytes: JPEG, PNG, WebP, BMP, TIFF or binary PNM.
        limits: Bounds on bytes and pixels; the header is checked before pixels are decoded.

    Raises:
        ImageError: With `.reason` from `REASONS`.
    """
    with opened(data, limits or DecodeLimits()) as image:
        return pixels_of(image)


@contextmanager
def opened(data: bytes, limits: DecodeLimits) -> Iterator[Image.Image]:
    """An image whose header is within the limits; no pixel of it is decoded yet.

    Raises:
        ImageError: With `.reason` from `REASONS`.
    """
    if len(data) > limits.max_bytes:
        raise ImageError("TOO_MANY_BYTES", f"image has {len(data)} bytes; expected at most {limits.max_bytes}.")
    other = other_format(data)
    if other is not None:
        raise ImageError("UNSUPPORTED", f"image is {other}; expected {', '.join(FORMATS[:-1])} or binary PNM.")
    check_structure(data)
    declared = declared_size(data)
    if declared is not None:
        check_size(declared, limits)
    with warnings.catch_warnings():
        # The pixel limit below replaces Pillow's own bomb warning.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with _recognised(data) as image:
            _check_header(image, limits)
            yield image


def check_size(size: tuple[int, int], limits: DecodeLimits) -> None:
    """The limits on pixels, for the size that a header names.

    Raises:
        ImageError: TOO_MANY_PIXELS or TOO_SMALL.
    """
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageError(
            "TOO_MANY_PIXELS", f"image is {width} x {height}; expected at most {limits.max_pixels} pixels."
        )
    if min(width, height) < limits.min_side:
        raise ImageError(
            "TOO_SMALL", f"image is {width} x {height}; expected sides of {limits.min_side} pixels or more."
        )


def pixels_of(image: Image.Image) -> ImageArray:
    """Decode an opened image.

    Raises:
        ImageError: TRUNCATED, UNSUPPORTED or TOO_COSTLY.
    """
    try:
        return _to_rgb8(image)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("TOO_COSTLY", "decoding takes more memory than the image's size explains.") from error
    except Exception as error:  # decoders raise what they like about damaged bytes
        raise ImageError("TRUNCATED", f"image header is fine but its pixels are not: {error}.") from error


def encode_png(image: ImageArray) -> bytes:
    """Encode (H, W, 3) uint8 RGB losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def pixel_hash(image: ImageArray) -> str:
    """SHA-256 of size and pixels: a re-encoded or renamed copy has the same."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _recognised(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError("TOO_MANY_PIXELS", f"image header is a decompression bomb: {error}.") from error
    except MemoryError as error:
        raise ImageError("TOO_COSTLY", "the header takes more memory than its size explains.") from error
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise ImageError("UNSUPPORTED", "TIFF is damaged, or has a kind of samples that is not read.") from error
        raise ImageError("NOT_AN_IMAGE", f"{len(data)} bytes are no {', '.join(FORMATS)} image.") from error
    except Exception as error:  # decoders raise what they like about damaged bytes
        if "too much memory" in str(error).lower() or "too large" in str(error).lower():
            raise ImageError("TOO_COSTLY", f"the header unpacks to more than is read: {error}.") from error
        raise ImageError("NOT_AN_IMAGE", f"{len(data)} bytes are no {', '.join(FORMATS)} image.") from error


def _check_header(image: Image.Image, limits: DecodeLimits) -> None:
    check_size(image.size, limits)
    tags = getattr(image, "tag_v2", {})
    tile = tuple(int(tags.get(tag) or 0) for tag in _TILE_SIDES)
    check_tile(*image.size, (tile[0], tile[1]))


def _to_rgb8(image: Image.Image) -> ImageArray:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "truncated images must raise, whoever set this global"
    image.load()
    if is_wide(image):
        rgb: ImageArray = np.repeat(grey8(image)[..., None], 3, axis=2)
    else:
        rgb = np.array(_opaque(image).convert("RGB"), dtype=np.uint8)
        check_depth(image, rgb)
    turn = _TURNS.get(_orientation(image))
    return np.ascontiguousarray(turn(rgb)) if turn else rgb


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image
    # Alpha over black would add edges that no camera made; over white is what viewers show.
    rgba = image.convert("RGBA")
    canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    canvas.alpha_composite(rgba)
    return canvas


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever a camera wrote there, the picture is worth more
        return 1
