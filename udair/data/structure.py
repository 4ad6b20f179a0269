"""What a file's own structure asks for, counted before anything of it is decoded.

A header that is fine says nothing about the work behind it: a progressive JPEG of 158 KB can hold 1500
scans of a whole picture each. Everything here is arithmetic over bytes; no pixel and no text is unpacked.
"""

from __future__ import annotations

import re

from udair.errors import ImageError

MAX_SCANS = 100  # libjpeg's own progressive scripts have ten
MAX_SEGMENTS = 10_000
MAX_CHUNKS = 100_000  # pixels come in chunks of 8 KiB, so 64 MiB of them are 8,192
MAX_OTHER_CHUNKS = 1_000

# What begins like one of these is an image, and none that is read here.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GIF8", "GIF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"%PDF", "PDF"),
    (0, b"DDS ", "DDS"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    (0, b"IIU\0", "Panasonic raw"),
    (0, b"IIRO", "Olympus raw"),
    (0, b"P1", "plain-text PNM"),
    (0, b"P2", "plain-text PNM"),
    (0, b"P3", "plain-text PNM"),
    (0, b"P7", "PAM"),
)
_BRANDS = {"avif": "AVIF", "avis": "AVIF", "crx ": "Canon raw"} | dict.fromkeys(
    ("heic", "heix", "hevc", "heim", "heis", "hevm", "mif1", "msf1"), "HEIC"
)
# A marker, in or after a scan: there 0xFF is followed by zero, by a restart, or by more 0xFF.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def other_format(data: bytes) -> str | None:
    """The name of the image format of `data`, where it is a well-known one that is not read here."""
    for at, magic, name in _OTHERS:
        if data[at : at + len(magic)] == magic and (magic[0] != 0x50 or data[2:3].isspace()):
            return name
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12].decode("latin-1"))
    return None


def check_structure(data: bytes) -> None:
    """Count scans and chunks.

    Raises:
        ImageError: TOO_COSTLY: there are more than any camera or program writes.
    """
    if data[:3] == b"\xff\xd8\xff":
        _check_jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_png(data)


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a WebP, whose decoder takes memory for all of its pixels when it is opened."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def check_tile(width: int, height: int, tile: tuple[int, int]) -> None:
    """A tile of a TIFF is unpacked whole, however little of it lies inside the picture.

    Raises:
        ImageError: TOO_COSTLY: it is larger than picture and tiles of common sizes.
    """
    if tile[0] * tile[1] > max(2**22, 4 * width * height):
        raise ImageError(
            "TOO_COSTLY",
            f"a picture of {width} x {height} is stored in tiles of {tile[0]} x {tile[1]}; save it with tiles of "
            "256 x 256, or in strips.",
        )


def _check_jpeg(data: bytes) -> None:
    scans, at = 0, 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, at = data[found.end() - 1], found.end()
        if marker == _END_OF_IMAGE:
            return
        scans += marker == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise ImageError(
                "TOO_COSTLY",
                f"JPEG has more than {MAX_SCANS} scans, each a pass over the whole picture; save it anew, as baseline.",
            )
        at += int.from_bytes(data[at : at + 2], "big")
    raise ImageError("TOO_COSTLY", f"JPEG has more than {MAX_SEGMENTS} segments; save it anew.")


def _check_png(data: bytes) -> None:
    at, others = 8, 0
    for _ in range(MAX_CHUNKS):
        kind = data[at + 4 : at + 8]
        if len(kind) < 4 or kind == b"IEND":
            return
        others += kind not in (b"IDAT", b"fdAT")
        if others > MAX_OTHER_CHUNKS:
            raise ImageError(
                "TOO_COSTLY", f"PNG has more than {MAX_OTHER_CHUNKS} chunks beside its pixels; save it without texts."
            )
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise ImageError("TOO_COSTLY", f"PNG has more than {MAX_CHUNKS} chunks; save it anew.")
