"""Quantisation tables as the files say them: against Pillow's reading of the same files, and against garbage."""

from __future__ import annotations

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from udair.data.images import decode
from udair.data.scenes import dead_leaves
from udair.estimation.jpeg import describe, luminance_table, quality_of, quality_of_pixels

SCENE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
TABLE = bytes(range(1, 65))


def saved(mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SCENE).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def frame(table: int = 0) -> bytes:
    return segment(0xC0, struct.pack(">BHHB", 8, 16, 16, 1) + bytes((1, 0x11, table)))


@pytest.mark.parametrize("quality", [5, 50, 83, 95, 100])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_table_is_the_one_that_a_decoder_reads(quality, progressive):
    data = saved(quality=quality, progressive=progressive)
    with Image.open(io.BytesIO(data)) as image:
        assert luminance_table(data) == bytes(image.quantization[0])


def test_rows_come_one_after_the_other():
    table = luminance_table(saved(quality=50))
    # The first row and the first column of the standard's own table, K.1.
    assert list(table[:8]) == [16, 11, 10, 16, 24, 40, 51, 61]
    assert list(table[::8]) == [16, 12, 14, 14, 18, 24, 49, 72]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_four_colours_have_one_too(mode):
    assert luminance_table(saved(mode, quality=70)) == luminance_table(saved(quality=70))


def test_the_table_of_a_thumbnail_is_not_the_pictures():
    thumbnail = saved(quality=10)
    data = saved(quality=90, exif=b"Exif\0\0" + thumbnail)
    assert luminance_table(data) == luminance_table(saved(quality=90)) != luminance_table(thumbnail)


def test_the_first_component_says_which_table_is_its_own():
    data = b"\xff\xd8" + segment(0xDB, b"\0" + bytes(64) + b"\1" + TABLE) + frame(1) + b"\xff\xda\0\2"
    assert sorted(luminance_table(data)) == list(TABLE)


def test_wide_steps_count_as_255():
    steps = struct.pack(">64H", *([300] * 63), 7)
    data = b"\xff\xd8\xff" + frame() + segment(0xDB, b"\x10" + steps) + b"\xff\xda\0\2"
    assert luminance_table(data) == bytes([255] * 63 + [7])


def test_other_files_and_garbage_have_none():
    png = io.BytesIO()
    Image.fromarray(SCENE).save(png, "PNG")
    good = saved(quality=60)
    for data in (b"", b"\xff", b"\xff\xd8", png.getvalue(), b"\xff\xd8" + frame() + b"\xff\xd9", bytes(1000)):
        assert luminance_table(data) is None
    rng = random.Random(0)
    for _ in range(3000):  # never raises, whatever is broken
        broken = bytearray(good[: rng.randrange(3, len(good))])
        for _ in range(rng.randrange(8)):
            broken[rng.randrange(2, len(broken))] = rng.choice((0xFF, 0xDB, 0xC0, 0, rng.randrange(256)))
        table = luminance_table(bytes(broken))
        assert table is None or len(table) == 64


def test_work_is_bounded_whatever_the_file_holds():
    empty = segment(0xE1, b"") * 100_000
    data = b"\xff\xd8" + empty + segment(0xDB, b"\0" + TABLE) + frame() + b"\xff\xda\0\2"
    assert luminance_table(data) is None


def _decoded(quality: int, count: int = 3) -> tuple[list[bytes], list[np.ndarray]]:
    files = []
    for scene in dead_leaves(count, 128, seed=quality):
        buffer = io.BytesIO()
        Image.fromarray(scene).save(buffer, "JPEG", quality=quality)
        files.append(buffer.getvalue())
    return files, [decode(file) for file in files]


@pytest.mark.parametrize("quality", [8, 35, 50, 77, 90])
def test_quality_is_told_from_tables_and_from_pixels_alone(quality):
    files, images = _decoded(quality)
    assert {quality_of(luminance_table(file)) for file in files} == {quality}
    assert abs(quality_of_pixels(images) - quality) <= 4
    assert describe([None], images) == f"JPEG: quality {quality_of_pixels(images)}, from the pixels."


def test_pictures_that_never_were_jpegs_or_were_cut_off_their_grid_are_not_told_of():
    assert quality_of_pixels(list(dead_leaves(3, 128, seed=1))) is None
    assert quality_of_pixels([image[3:, 5:] for image in _decoded(40)[1]]) is None
    assert quality_of_pixels([np.full((64, 64, 3), 255, np.uint8)]) is None
    assert describe([], list(dead_leaves(3, 128, seed=1))) == "JPEG: not told by the pixels."


def test_files_of_several_qualities_are_told_of_by_their_tables():
    tables = [luminance_table(_decoded(quality, 1)[0][0]) for quality in (60, 80, 80)]
    assert describe([*tables, None], []) == "JPEG: quality 60 to 80, mostly 80, from the tables of 3 of 4 files."
