"""Encoded bytes to RGB arrays and back, with limits: customers' images are not trusted.

Whatever comes in, (H, W, 3) uint8 RGB comes out, upright: grey, 16-bit, palette, RGBA and CMYK are
converted, EXIF rotation is applied. What cannot be decoded is refused with a reason from `REASONS`.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from udair.errors import ConfigError, ImageError

REASONS = ("NOT_AN_IMAGE", "TRUNCATED", "TOO_MANY_BYTES", "TOO_MANY_PIXELS", "TOO_SMALL")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM")

ImageArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodeLimits:
    """What decoding is willing to spend on one image.

    Attributes:
        max_bytes: Largest encoded size.
        max_pixels: Largest width times height, read from the header before any pixel is decoded.
        min_side: Shortest side that is still an image, in pixels.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    min_side: int = 8

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "min_side"):
            if getattr(self, name) < 1:
                raise ConfigError(f"decode.{name} is {getattr(self, name)}; expected 1 or more.")


def decode(data: bytes, limits: DecodeLimits | None = None) -> ImageArray:
    """Decode one image to (H, W, 3) uint8 RGB, upright.

    Args:
        data: Encoded bytes: JPEG, PNG, WebP, BMP, TIFF or PNM.
        limits: Bounds on bytes and pixels; the header is checked before pixels are decoded.

    Raises:
        ImageError: With `.reason` from `REASONS`.
    """
    limits = limits or DecodeLimits()
    if len(data) > limits.max_bytes:
        raise ImageError("TOO_MANY_BYTES", f"image has {len(data)} bytes; expected at most {limits.max_bytes}.")
    with warnings.catch_warnings():
        # The pixel limit below replaces Pillow's own bomb warning.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageError("TOO_MANY_PIXELS", f"image header is a decompression bomb: {error}.") from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise ImageError("NOT_AN_IMAGE", f"{len(data)} bytes are no {', '.join(FORMATS)} image.") from error
        with image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise ImageError(
                    "TOO_MANY_PIXELS",
                    f"image is {width} x {height}; expected at most {limits.max_pixels} pixels.",
                )
            if min(width, height) < limits.min_side:
                raise ImageError(
                    "TOO_SMALL", f"image is {width} x {height}; expected sides of {limits.min_side} pixels or more."
                )
            try:
                return _to_rgb8(image)
            except (OSError, ValueError, SyntaxError, EOFError, IndexError, MemoryError, TypeError) as error:
                raise ImageError("TRUNCATED", f"image header is fine but its pixels are not: {error}.") from error


def encode_png(image: ImageArray) -> bytes:
    """Encode (H, W, 3) uint8 RGB losslessly."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def pixel_hash(image: ImageArray) -> str:
    """SHA-256 of size and pixels: a re-encoded or renamed copy has the same."""
    return hashlib.sha256(str(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _to_rgb8(image: Image.Image) -> ImageArray:
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "truncated images must raise, whoever set this global"
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        wide = np.asarray(upright, dtype=np.float64)
        # Pillow opens 16-bit PNG and TIFF as 0..65535 and never rescales by itself.
        peak = 255.0 if upright.mode == "F" and wide.max(initial=0.0) <= 255.0 else 65535.0
        grey = np.clip(np.rint(wide * (255.0 / peak)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[..., None], 3, axis=2))
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        # Alpha over black would add edges that no camera made; over white is what viewers show.
        rgba = upright.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(canvas, rgba)
    return np.array(upright.convert("RGB"), dtype=np.uint8)
