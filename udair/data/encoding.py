"""Restored arrays back to files of the format that they came in, with what the original said about itself."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from udair.data.images import FORMATS, ImageArray
from udair.errors import ConfigError, ImageError

OutputFormat = Literal["same", "png", "jpeg", "webp", "tiff"]
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}

_ORIENTATION = 0x0112
# What the restored pixels no longer agree with: sizes, and the thumbnail (IFD1) of the degraded image.
_STALE = (0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116, 0x0117, 0x011C, 0x0201, 0x0202)


@dataclass(frozen=True)
class ImageMetadata:
    """What a file says beside its pixels.

    Attributes:
        format: As Pillow names it: JPEG, PNG, WEBP, BMP, TIFF or PPM.
        exif: Encoded, with the orientation already applied to the pixels.
        icc_profile: Colour profile of RGB files; of others it would not fit the RGB that is written.
        size: Width and height as the header has them, before any rotation.
    """

    format: str
    exif: bytes = b""
    icc_profile: bytes = b""
    size: tuple[int, int] = (0, 0)


def read_metadata(data: bytes) -> ImageMetadata:
    """Read from the header of bytes that `decode` accepts; pixels are not decoded.

    Raises:
        ImageError: NOT_AN_IMAGE.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
                return ImageMetadata(str(image.format), _exif(image), bytes(profile or b""), image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageError("NOT_AN_IMAGE", f"{len(data)} bytes are no {', '.join(FORMATS)} image.") from error


def suffix_of(format: OutputFormat) -> str | None:
    """The file name's new ending; None keeps the old one."""
    return None if format == "same" else SUFFIXES[format.upper()]


def encode(image: ImageArray, metadata: ImageMetadata, *, format: OutputFormat = "same", quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB.

    Args:
        image: Restored pixels.
        metadata: Of the original; its EXIF data and colour profile are kept where the format has a place.
        format: `same` keeps the original's.
        quality: Of JPEG and WebP, 1 to 100; the others lose nothing.

    Raises:
        ConfigError: The quality is outside its range.
    """
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality is {quality}; expected 1 to 100.")
    chosen = metadata.format if format == "same" else format.upper()
    by_format: dict[str, dict[str, Any]] = {
        # Chroma at full resolution: what was just restored should not be blurred again.
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "PNG": {"compress_level": 4},
        # libtiff, which compresses, cannot write EXIF folders; Pillow's own writer can.
        "TIFF": {} if metadata.exif else {"compression": "tiff_adobe_deflate"},
    }
    options = by_format.get(chosen, {})
    if chosen in SUFFIXES:
        options |= {"exif": metadata.exif} if metadata.exif else {}
        options |= {"icc_profile": metadata.icc_profile} if metadata.icc_profile else {}
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=chosen, **options)
    return buffer.getvalue()


def encode_png16(image: npt.NDArray[np.uint16]) -> bytes:
    """Encode (H, W, 3) uint16 RGB as a PNG of 16 bits a channel, which Pillow cannot write."""
    height, width = image.shape[:2]
    rows = image.astype(">u2").reshape(height, -1).view(np.uint8)
    # Filter 2: each byte minus the one above, modulo 256.
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows - above], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    pixels = zlib.compress(filtered.tobytes(), 4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _exif(image: Image.Image) -> bytes:
    try:
        exif = image.getexif()
        for tag in (_ORIENTATION, *_STALE):
            exif.pop(tag, None)
        return exif.tobytes() if len(exif) else b""
    except Exception:  # whatever a camera wrote there, the picture is worth more
        return b""
