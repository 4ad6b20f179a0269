"""Every odd file through every door that images come in by: decoding, a snapshot, a batch job, the data plane.

    make test-odd-images UDAIR_ODD_IMAGES=folder       # files of your own besides those that are made here

Writes what each door said of each file to odd-images.tsv (in UDAIR_ODD_OUT, or pytest's folder), and prints how often
each was said. Whatever a file is, it is restored or refused by a name, within bounds of time and memory.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import odd_images
import pytest
from data_plane import Plane, answering, bearer, make_image
from processes import descendants

from udair.data.door import DecodeDoor
from udair.data.encoding import ImageMetadata, encode
from udair.data.images import DecodeLimits, encode_png
from udair.errors import DoorBusy, ImageError
from udair_jobs.images.snapshots import REASONS, take_snapshot
from udair_jobs.restore_batch.plan import planned
from udair_jobs.restore_batch.report import BatchReport
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.restore_batch.worker import BatchWorker
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import open_storage

pytestmark = pytest.mark.odd

MOST_BYTES, MOST_PIXELS = 32 * 2**20, 24_000_000
# Of one file at one door (a picture of 24 megapixels takes minutes on a busy core, what was mended took hours), and of
# all processes together (the batch job's budget alone is 2 GiB).
MOST_S, MOST_MEMORY_BYTES = 600.0, 6 * 2**30
RESTORED = "restored"
# Of the data plane besides REASONS: a body without a byte is no image yet.
CODES = {"BAD_REQUEST", "BODY_TOO_LARGE"}


def generated() -> dict[str, bytes]:
    """Files of every kind that this repository can make."""
    whole = {kind: encode(make_image(1), ImageMetadata("PNG"), format=kind) for kind in ("png", "jpeg", "webp", "tiff")}
    ramp = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    odd = {
        "empty.png": b"",
        "text.jpg": b"no image",
        "gif.gif": b"GIF89a",
        "plain.ppm": b"P3\n9 9\n255\n" + b"1 " * 10_000,
        "huge.png": odd_images.huge_png(),
        "huge.webp": odd_images.huge_webp(16_000, 16_000),
        "tile.tif": odd_images.huge_tile(),
        "scans.jpg": odd_images.many_scans(1500),
        "few-scans.jpg": odd_images.many_scans(8),
        "two-pictures.jpg": odd_images.two_pictures(),
        "slow.bmp": odd_images.slow_bmp(700),
        "chunks.png": odd_images.with_chunks(whole["png"], odd_images.chunk(b"tEXt", b"a\0b") * 20_000),
        "float.tif": odd_images.tiff(ramp),
        "sixteen.tif": odd_images.tiff((ramp * 65535).astype(np.uint16)),
        "signed.tif": odd_images.tiff((ramp * 100).astype(np.int16)),
        "tall.png": encode_png(np.full((70_000, 2, 3), 99, np.uint8)),
        "dot.png": encode_png(make_image(1, 1, 1)),
    }
    for kind, data in whole.items():
        odd[f"whole.{kind}"] = data
        odd[f"cut.{kind}"] = data[: len(data) // 2]
        odd[f"head.{kind}"] = data[:40]
        odd[f"zeros.{kind}"] = data[: len(data) // 3] + bytes(len(data) - len(data) // 3)
        odd[f"tail.{kind}"] = data + os.urandom(5000)
    return odd


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    given = os.environ.get("UDAIR_ODD_IMAGES")
    found = sorted(path for path in Path(given).rglob("*") if path.is_file()) if given else []
    return generated() | {f"given/{path.relative_to(given or '')}": path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def said(files, tmp_path_factory) -> dict[str, dict[str, tuple[str, float]]]:
    """By door and file: what was said, and after how many seconds."""
    folder = tmp_path_factory.mktemp("odd")
    source = open_storage(str(folder / "in"))
    for name, data in files.items():
        source.put(name, data)
    doors = {
        "decode": _decoded(files),
        "snapshot": _taken(source, folder),
        "batch": _restored(source, folder),
        "api": _posted(files, folder),
    }
    out = Path(os.environ.get("UDAIR_ODD_OUT") or folder) / "odd-images.tsv"
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = ["\t".join([name, str(len(files[name])), *(doors[door][name][0] for door in doors)]) for name in files]
    out.write_text("\n".join(["\t".join(["file", "bytes", *doors]), *rows]) + "\n")
    print(f"\n{out}: {len(files)} files")
    for door, answers in doors.items():
        counts = Counter(answer for answer, _ in answers.values()).most_common()
        longest = max(spent for _, spent in answers.values())
        print(f"{door:<9} longest {longest:.1f} s; " + ", ".join(f"{answer} {count}" for answer, count in counts))
    return doors


@pytest.fixture(scope="module")
def peak_bytes() -> list[int]:
    """The most memory that this process and all below it had together, while the module ran."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            peak[0] = max(peak[0], sum(map(_resident, [os.getpid(), *descendants(os.getpid())])))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    yield peak
    over.set()
    watching.join()


def test_every_file_is_restored_or_refused_by_a_name_at_every_door(peak_bytes, said, files):
    strange = [
        f"{door}: {name}: {answer}"
        for door, answers in said.items()
        for name, (answer, _) in answers.items()
        if answer not in {RESTORED, *REASONS, *CODES}
    ]
    assert strange == []
    assert all(set(answers) == set(files) for answers in said.values()), "none is left out in silence"


def test_no_file_takes_long_and_all_of_them_take_little_memory(said, peak_bytes):
    slow = [f"{door}: {name}: {s:.0f} s" for door, all_ in said.items() for name, (_, s) in all_.items() if s > MOST_S]
    assert slow == []
    print(f"\nmost memory {peak_bytes[0] / 2**30:.2f} GiB")
    assert 0 < peak_bytes[0] < MOST_MEMORY_BYTES


def test_the_doors_agree_on_what_is_an_image(said):
    """One reader for all of them: who decodes it restores it; a snapshot has more reasons to leave one out."""
    for name, (answer, _) in said["decode"].items():
        if answer == RESTORED:
            assert said["batch"][name][0] == said["api"][name][0] == RESTORED, name
        else:
            assert RESTORED not in {said[door][name][0] for door in ("snapshot", "batch", "api")}, name


def _decoded(files: dict[str, bytes]) -> dict[str, tuple[str, float]]:
    door, answers = DecodeDoor(), {}
    for name, data in files.items():
        began = time.monotonic()
        try:
            door.decode(data, DecodeLimits(max_bytes=MOST_BYTES, max_pixels=MOST_PIXELS))
            answer = RESTORED
        except ImageError as error:
            answer = error.reason
        except DoorBusy as error:
            answer = f"busy: {error}"
        answers[name] = (answer, time.monotonic() - began)
    door.close()
    return answers


def _taken(source, folder: Path) -> dict[str, tuple[str, float]]:
    limits = LimitsSpec(max_image_bytes=MOST_BYTES, max_image_pixels=MOST_PIXELS)
    began = time.monotonic()
    snapshot = take_snapshot(source, open_storage(str(folder / "snapshot")), snapshot_id="s-odd", limits=limits)
    spent = (time.monotonic() - began) / max(len(list(snapshot.rows)), 1)
    return {row.key: (row.reason or RESTORED, spent) for row in snapshot.rows}


def _restored(source, folder: Path) -> dict[str, tuple[str, float]]:
    """What one worker of the job does with them; that Ray runs the workers is no matter here."""
    output = open_storage(str(folder / "out"))
    limits = LimitsSpec(max_image_bytes=MOST_BYTES, max_image_pixels=MOST_PIXELS)
    spec = BatchSpec(source_uri=source.uri, output_uri=output.uri, base_uri="packaged:tiny", limits=limits)
    items, _ = planned(source, output, spec, BatchReport(output.at("_udair")), "recipe")
    worker, answers = BatchWorker(spec.model_dump(), "recipe"), {}
    for item in items:
        began = time.monotonic()
        done = worker.restore([item])
        assert done.stopped is None
        answers |= {row.key: (RESTORED if row.done else row.reason, time.monotonic() - began) for row in done.rows}
    return answers


def _posted(files: dict[str, bytes], folder: Path) -> dict[str, tuple[str, float]]:
    answers = {}
    plane = Plane(folder, limits=DecodeLimits(max_bytes=MOST_BYTES, max_pixels=MOST_PIXELS), timeout_s=MOST_S)
    with answering(plane), httpx.Client(timeout=2 * MOST_S, headers=bearer()) as client:
        for name, data in files.items():
            began = time.monotonic()
            reply = client.post(f"{plane.url}/v1/domains/plain:restore", content=data)
            answer = RESTORED if reply.status_code == 200 else f"{reply.status_code}: {reply.text[:200]}"
            if reply.status_code in (400, 413, 422):
                said = reply.json()
                reason = said["detail"].partition(":")[0]
                answer = reason if reason in REASONS else said["code"]
            answers[name] = (answer, time.monotonic() - began)
        assert client.get(f"{plane.url}/healthz").status_code == 200
    return answers


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
