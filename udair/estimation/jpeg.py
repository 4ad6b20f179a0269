"""How strongly pictures were compressed by JPEG: what the files themselves say, or the comb that is left in their pixels.

Quality is that of libjpeg's scale, 1 to 100, whose table of luminance is nearest.

Axes: N blocks of 8 x 8 pixels.

Source: ITU-T T.81, annexes B (markers) and K (tables), figure 5 (order of the coefficients); the comb, Fan & de Queiroz 2003.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from udair.data.images import ImageArray

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC lie between the frame headers
_DQT, _SOI, _SOS, _EOI = 0xDB, 0xD8, 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_MOST_SEGMENTS = 1000  # a header of a camera has tens, an XMP of many parts a few hundred
# Row-major place of the coefficient that comes k-th in the file: along diagonals, each the other way round.
_PLACES = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))


def luminance_table(data: bytes) -> bytes | None:
    """Quantisation table of a JPEG's first component, 64 bytes, row-major; None if `data` is no such file.

    The header alone is read. Steps above 255, which files of 12 bits may have, count as 255.
    """
    if data[:2] != bytes((0xFF, _SOI)):
        return None
    tables: dict[int, bytes] = {}
    first: int | None = None  # number of the table that the first component uses
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:  # a fill byte, or nothing behind it
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SOS, _EOI):
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        segment = data[at + 4 : at + 2 + length]
        if marker == _DQT:
            tables |= _tables(segment)
        elif marker in _SOF and len(segment) >= 9:
            first = segment[8]
        at += 2 + max(length, 2)
    return None if first is None else tables.get(first)


def _tables(segment: bytes) -> dict[int, bytes]:
    """The tables of one DQT segment, by number."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(segment):
        wide, number = bool(segment[at] >> 4), segment[at] & 15
        size = 128 if wide else 64
        values = segment[at + 1 : at + 1 + size]
        if len(values) < size:
            break
        steps = [min(255, step) for step in struct.unpack(">64H" if wide else "64B", values)]
        row_major = bytearray(64)
        for place, step in zip(_PLACES, steps, strict=True):
            row_major[place] = step
        found[number] = bytes(row_major)
        at += 1 + size
    return found


# Table K.1 of ITU-T T.81.
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
QUALITIES = range(1, 101)
ROUNDING = 0.6  # deviation that rounding pixels to bytes gives a coefficient, levels; colour adds to it
BAND = 20  # coefficients of low frequency that are looked at: the others are mostly zero
MOST_BLOCKS = 6000
TOLD = (
    0.15  # gain in log likelihood a coefficient, in nats, from which a comb is there: photographs without one have 0.02
)
OUTLIERS = 0.05

Array = npt.NDArray[np.float64]


def _table(quality: int) -> Array:
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip(np.floor((np.array(_LUMINANCE) * scale + 50) / 100), 1, 255)


_TABLES = np.stack([_table(quality) for quality in QUALITIES])


def quality_of(table: bytes) -> int:
    """The quality whose luminance table is nearest to this one (64 bytes, row-major), 1 to 100."""
    logs = np.log(np.frombuffer(table, np.uint8).clip(1).astype(np.float64))
    return QUALITIES[int(np.abs(np.log(_TABLES) - logs).sum(1).argmin())]


def quality_of_pixels(images: Sequence[ImageArray]) -> int | None:
    """Quality of pictures that were compressed alike and then decoded; None where no comb is left in their pixels.

    Args:
        images: (H, W, 3) uint8, as they were decoded: blocks begin at the upper left corner.
    """
    blocks = [_coefficients(image, MOST_BLOCKS // max(1, len(images))) for image in images]
    coefficients_NB = np.concatenate(blocks)
    if len(coefficients_NB) < 50:
        return None
    spread_B = np.abs(coefficients_NB).mean(0).clip(0.3)
    # Of one frequency only its step matters: the gain of each step is computed once.
    gain_of = {
        (place, step): _gain(coefficients_NB[:, place], step, spread_B[place])
        for place in range(BAND)
        for step in {int(table[_PLACES[place + 1]]) for table in _TABLES}
    }
    gains = [np.mean([gain_of[place, int(table[_PLACES[place + 1]])] for place in range(BAND)]) for table in _TABLES]
    best = int(np.argmax(gains))
    return QUALITIES[best] if gains[best] >= TOLD else None


def describe(tables: Sequence[bytes | None], images: Sequence[ImageArray]) -> str:
    """One line for people: from the files' tables where there are any, else from the pixels.

    Args:
        tables: Luminance table of each file, None for one that is no JPEG; may be empty.
        images: (H, W, 3) uint8.
    """
    qualities = sorted(quality_of(table) for table in tables if table is not None)
    if qualities:
        middle, low, high = qualities[len(qualities) // 2], qualities[0], qualities[-1]
        told = f"{middle}" if low == high else f"{low} to {high}, mostly {middle}"
        return f"JPEG: quality {told}, from the tables of {len(qualities)} of {len(tables)} files."
    quality = quality_of_pixels(images)
    return "JPEG: not told by the pixels." if quality is None else f"JPEG: quality {quality}, from the pixels."


def _gain(values_N: Array, step: int, spread: float) -> float:
    """Mean log likelihood of multiples of `step`, rounded, over that of no steps (a Laplacian of this spread)."""
    if step < 2:
        return 0.0
    multiple = np.rint(values_N / step)
    edge = np.abs(multiple) * step
    inner, outer = np.exp(-np.maximum(edge - step / 2, 0) / spread), np.exp(-(edge + step / 2) / spread)
    share = np.where(multiple == 0, 1 - np.exp(-step / 2 / spread), (inner - outer) / 2)
    off = values_N - multiple * step
    comb = share * np.exp(-(off**2) / (2 * ROUNDING**2)) / (ROUNDING * math.sqrt(2 * math.pi))
    plain = np.exp(-np.abs(values_N) / spread) / (2 * spread)
    plain = np.maximum(plain, 1e-12)
    return float(np.log((1 - OUTLIERS) * comb / plain + OUTLIERS).mean())


def _coefficients(image: ImageArray, most: int) -> Array:
    """Low frequencies of luminance (N, BAND), in levels; of blocks spread over the picture."""
    red, green, blue = np.moveaxis(image.astype(np.float64), 2, 0)
    plane = 0.299 * red + 0.587 * green + 0.114 * blue - 128
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    blocks = blocks[:: max(1, math.ceil(len(blocks) / max(1, most)))]
    clipped = ((blocks <= -127.5) | (blocks >= 126.5)).any((1, 2))  # a clipped block has lost its comb
    at = np.arange(8)
    basis = np.cos(math.pi / 8 * (at[None] + 0.5) * at[:, None]) / 2
    basis[0] = 1 / math.sqrt(8)
    found: Array = (basis @ blocks[~clipped] @ basis.T).reshape(-1, 64)[:, _PLACES[1 : BAND + 1]]
    return found
