"""Images are decoded in processes that can be ended, and nobody pays for another's image."""

from __future__ import annotations

import functools
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from odd_images import slow_bmp
from PIL import Image

from udair.data.door import DecodeDoor
from udair.data.encoding import read_metadata
from udair.data.images import DecodeLimits, decode, encode_png
from udair.errors import DoorBusy, ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
IMPATIENT = DecodeLimits(processor_s=1)
OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def others():
    """Of doors that other tests of this process left open."""
    found = set(workers())
    OTHERS.update(found)
    yield
    OTHERS.difference_update(found)


@pytest.fixture
def door(others):
    made = DecodeDoor(2, waiting=4)
    yield made
    made.close()


@functools.cache
def costly() -> bytes:
    return slow_bmp(4500)


def workers(of: int | None = None) -> list[int]:
    parent = str(of or os.getpid())
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(") ", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if fields[1] == parent and fields[0] != "Z" and b"udair.data.decode_worker" in command:
            found.append(int(stat.parent.name))
    return [pid for pid in found if pid not in OTHERS]


def until(condition, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_comes_through_is_what_the_file_holds(door):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Gauge"
    Image.fromarray(PIXELS).save(buffer, "JPEG", exif=exif.tobytes())
    data = buffer.getvalue()
    decoded = door.decode(data)
    assert np.array_equal(decoded.image, decode(data))
    assert decoded.image.shape == (64, 48, 3)
    assert decoded.image.flags.writeable
    assert decoded.metadata == read_metadata(data)
    assert b"Gauge" in decoded.metadata.exif


def test_refusals_are_those_of_decoding(door):
    for data, reason in ((b"", "NOT_AN_IMAGE"), (b"GIF89a", "UNSUPPORTED"), (encode_png(PIXELS)[:-90], "TRUNCATED")):
        with pytest.raises(ImageError) as caught:
            door.decode(data)
        assert caught.value.reason == reason
    assert door.decode(encode_png(PIXELS)).image.shape == PIXELS.shape


def test_an_image_that_takes_too_much_processor_is_ended_and_its_process_replaced(door):
    until(lambda: len(workers()) == 2)
    before = set(workers())
    with pytest.raises(ImageError, match="more than 1 s of processor time") as caught:
        door.decode(costly(), IMPATIENT)
    assert caught.value.reason == "TOO_COSTLY"
    until(lambda: len(workers()) == 2)
    assert len(before & set(workers())) == 1


def test_a_tenants_flood_of_costly_images_costs_its_neighbour_nothing(door):
    flood = [door.submit(costly(), IMPATIENT, tenant="evil") for _ in range(4)]
    until(lambda: any(future.running() for future in flood))
    for _ in range(20):
        assert door.decode(encode_png(PIXELS), tenant="good").image.shape == PIXELS.shape
    assert not flood[0].done()  # the neighbour waited for none of them
    for future in flood[1:]:
        future.cancel()
    assert flood[0].exception().reason == "TOO_COSTLY"


def test_a_full_queue_is_its_tenants_own(door):
    flood = [door.submit(costly(), IMPATIENT, tenant="evil")]
    until(flood[0].running)
    flood += [door.submit(costly(), IMPATIENT, tenant="evil") for _ in range(4)]
    with pytest.raises(DoorBusy, match="4 images of evil wait"):
        door.submit(costly(), IMPATIENT, tenant="evil")
    assert door.decode(encode_png(PIXELS), tenant="good").image.shape == PIXELS.shape
    for future in flood:
        future.cancel()


def test_a_process_that_is_killed_costs_no_image(door):
    until(lambda: len(workers()) == 2)
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    for _ in range(4):
        assert door.decode(encode_png(PIXELS)).image.shape == PIXELS.shape


def test_processes_know_no_secret(door, monkeypatch):
    until(lambda: len(workers()) == 2)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(ImageError):
        door.decode(costly(), IMPATIENT)
    until(lambda: len(workers()) == 2)
    door.decode(encode_png(PIXELS))
    for pid in workers():
        assert b"hush" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_large_images_wait_for_memory_and_small_ones_do_not():
    door = DecodeDoor(3, memory_bytes=2**27)
    try:
        large = [door.submit(encode_png(np.zeros((2000, 2000, 3), np.uint8)), tenant=str(n)) for n in range(3)]
        assert door.decode(encode_png(PIXELS), tenant="small").image.shape == PIXELS.shape
        assert [future.result().image.shape for future in large] == [(2000, 2000, 3)] * 3
        assert door._held_bytes == 0
    finally:
        door.close()


def test_processes_end_with_whoever_started_them():
    program = "from udair.data.door import DecodeDoor; d = DecodeDoor(2); print('up', flush=True); import time; time.sleep(99)"
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    parent.stdout.readline()
    until(lambda: len(workers(parent.pid)) == 2)
    pids = workers(parent.pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_closed_door_lets_nothing_in():
    door = DecodeDoor(1)
    door.close()
    with pytest.raises(DoorBusy, match="closed"):
        door.decode(encode_png(PIXELS))
    assert workers() == []
