"""Files that say odd things about themselves, written byte by byte where no library would."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

_TYPES = {"B": 2, "H": 3, "I": 4, "f": 11}


def tiff(samples: np.ndarray, *, tags: dict[int, tuple[str, tuple]] | None = None) -> bytes:
    """A TIFF of one strip with (H, W) or (H, W, C) samples, and tags of our own: number to (type, values)."""
    height, width = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    entries: dict[int, tuple[str, tuple]] = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (8 * samples.itemsize,) * channels),
        259: ("H", (1,)),
        262: ("H", (1 if channels == 1 else 2,)),
        273: ("I", (0,)),
        277: ("H", (channels,)),
        278: ("I", (height,)),
        279: ("I", (samples.nbytes,)),
        339: ("H", (kind,) * channels),
    } | (tags or {})
    at = 8 + 2 + 12 * len(entries) + 4
    more = b""
    encoded = {number: struct.pack(f"<{len(values)}{code}", *values) for number, (code, values) in entries.items()}
    longer = sum(len(value) for value in encoded.values() if len(value) > 4)
    encoded[273] = struct.pack("<I", at + longer) if 273 not in (tags or {}) else encoded[273]
    folder = struct.pack("<H", len(entries))
    for number in sorted(entries):
        code, values = entries[number]
        value = encoded[number]
        folder += struct.pack("<HHI", number, _TYPES[code], len(values))
        if len(value) > 4:
            folder += struct.pack("<I", at + len(more))
            more += value
        else:
            folder += value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", 8) + folder + bytes(4) + more + samples.tobytes()


def huge_tile(side: int = 26_000) -> bytes:
    """A picture of 64 x 64 in one tile of `side` x `side`, which is unpacked whole."""
    data = zlib.compress(bytes(10**6))
    tags = {322: ("I", (side,)), 323: ("I", (side,)), 259: ("H", (8,))}
    return tiff(np.zeros((64, 64, 3), np.uint8), tags=tags | {324: ("I", (300,)), 325: ("I", (len(data),))}) + data


def many_scans(scans: int, side: int = 64) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 99).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + data[-2:]


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, chunks: bytes) -> bytes:
    """A PNG with more chunks behind its header."""
    return png[:33] + chunks + png[33:]


def huge_png(side: int = 13_300) -> bytes:
    """A PNG of few bytes and more pixels than anybody may send."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 4 * side)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def slow_bmp(side: int) -> bytes:
    """A BMP of runs of one pixel each, which Pillow unpacks in Python: seconds, of which its header says nothing."""
    runs = (b"\x01\x07" * side + b"\0\0") * side + b"\0\x01"
    start = 14 + 40 + 1024
    head = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return head + info + bytes(range(256)) * 4 + runs


def two_pictures() -> bytes:
    """A JPEG with a second picture behind the first (MPO), as phones write it."""
    exif = Image.Exif()
    exif[0x010F] = "Gauge"
    first = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[first.resize((32, 24))], exif=exif, quality=95)
    return buffer.getvalue()


def huge_webp(width: int, height: int) -> bytes:
    """The header of a WebP without loss, and hardly more."""
    bits = (width - 1) | (height - 1) << 14
    data = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + struct.pack("<I", bits) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data
