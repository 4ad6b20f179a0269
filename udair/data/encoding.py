"""Restored arrays back to files of the format that they came in, with what the original said about itself."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from udair.data.images import PNG_LEVEL, DecodeLimits, ImageArray, decode, opened
from udair.errors import ConfigError, ImageError

OutputFormat = Literal["same", "png", "jpeg", "webp", "tiff"]
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}

# What of a file's main folder stays true of other pixels: who, when, with what. Layout, sizes and samples do not,
# nor what a program noted about them as a TIFF's description; the thumbnail is one of the degraded image.
_KEPT = {
    *(0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749),
    *(0x8298, 0x8769, 0x8825, 0x9286, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F, 0xC614, 0xC62F),
}
_DESCRIPTION = 0x010E
_EXIF_FOLDER, _GPS_FOLDER = 0x8769, 0x8825
_LONGEST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
_MOST_EXIF_BYTES = {"JPEG": 65_533}
_LOSSLESS = ("PNG", "TIFF", "BMP", "PPM")


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


def read_metadata(data: bytes, limits: DecodeLimits | None = None) -> ImageMetadata:
    """Read from the header of bytes that `decode` accepts; pixels are not decoded.

    Raises:
        ImageError: With `.reason` from `REASONS`.
    """
    with opened(data, limits or DecodeLimits()) as image:
        return metadata_of(image)


def metadata_of(image: Image.Image) -> ImageMetadata:
    """Of an opened image; what a PNG says behind its pixels is known once they are decoded."""
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    # Two pictures in one file (MPO) are a JPEG with another behind it.
    format = "JPEG" if image.format == "MPO" else str(image.format)
    return ImageMetadata(format, _exif(image), bytes(profile or b""), image.size)


def suffix_of(format: OutputFormat) -> str | None:
    """The file name's new ending; None keeps the old one."""
    return None if format == "same" else SUFFIXES[format.upper()]


def dropped(metadata: ImageMetadata, width: int, height: int, *, format: OutputFormat = "same") -> str:
    """What a file of that format cannot hold of the original, in words; empty if it holds all.

    Raises:
        ImageError: UNSUPPORTED: it cannot hold the picture.
    """
    chosen = _chosen(metadata, format)
    longest = _LONGEST_SIDE.get(chosen, 2**31 - 1)
    if max(width, height) > longest:
        raise ImageError(
            "UNSUPPORTED",
            f"image is {width} x {height}; {chosen} holds sides of at most {longest} pixels. Ask for png or tiff.",
        )
    most = _MOST_EXIF_BYTES.get(chosen, 2**31 - 1)
    return f"EXIF of {len(metadata.exif)} bytes; {chosen} holds {most}" if len(metadata.exif) > most else ""


def encode(image: ImageArray, metadata: ImageMetadata, *, format: OutputFormat = "same", quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB, and read it back: what cannot be read is never handed out.

    Args:
        image: Restored pixels.
        metadata: Of the original; its EXIF data and colour profile are kept where the format has a place
            (`dropped` says where it has none).
        format: `same` keeps the original's.
        quality: Of JPEG and WebP, 1 to 100; the others lose nothing.

    Raises:
        ConfigError: The quality is outside its range.
        ImageError: UNSUPPORTED: the format cannot hold the picture, or what was written is not what was restored.
    """
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality is {quality}; expected 1 to 100.")
    chosen = _chosen(metadata, format)
    exif = b"" if dropped(metadata, image.shape[1], image.shape[0], format=format) else metadata.exif
    by_format: dict[str, dict[str, Any]] = {
        # Chroma at full resolution: what was just restored should not be blurred again.
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality},
        "PNG": {"compress_level": PNG_LEVEL},
        # libtiff, which compresses, cannot write EXIF folders; Pillow's own writer can.
        "TIFF": {} if exif else {"compression": "tiff_adobe_deflate"},
    }
    options = by_format.get(chosen, {})
    if chosen in SUFFIXES:
        options |= {"exif": exif} if exif else {}
        options |= {"icc_profile": metadata.icc_profile} if metadata.icc_profile else {}
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=chosen, **options)
    data = buffer.getvalue()
    _read_back(data, image, exact=chosen in _LOSSLESS)
    return data


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
    pixels = zlib.compress(filtered.tobytes(), PNG_LEVEL)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    _read_back(data, (image >> 8).astype(np.uint8), exact=True)
    return data


def _chosen(metadata: ImageMetadata, format: OutputFormat) -> str:
    return metadata.format if format == "same" else format.upper()


def _read_back(data: bytes, image: ImageArray, *, exact: bool) -> None:
    try:
        again = decode(data, DecodeLimits(max(1, len(data)), max(1, image.size), min_side=1))
    except ImageError as error:
        raise ImageError("UNSUPPORTED", f"the restored file cannot be read back: {error}") from error
    if again.shape != image.shape or (exact and not np.array_equal(again, image)):
        raise ImageError("UNSUPPORTED", "the restored file, read back, holds another picture; ask for png.")


def _exif(image: Image.Image) -> bytes:
    try:
        # The method of the base class: PNG's own decodes the pixels in search of what may follow them.
        exif = Image.Image.getexif(image)
        kept = Image.Exif()
        kept.endian = exif.endian
        for tag in _KEPT.intersection(exif):
            if tag in (_EXIF_FOLDER, _GPS_FOLDER):
                kept[tag] = dict(exif.get_ifd(tag))
            elif tag != _DESCRIPTION or image.format != "TIFF":
                kept[tag] = exif[tag]
        return kept.tobytes() if len(kept) else b""
    except Exception:  # whatever a camera wrote there, the picture is worth more
        return b""
