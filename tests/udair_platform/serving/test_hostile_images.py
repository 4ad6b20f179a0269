"""One tenant's hostile files are its own trouble: refused for what they are, and nobody else waits."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import odd_images
import pytest
from data_plane import Plane, answering, bearer, make_image
from PIL import Image

from udair.data.door import DecodeDoor
from udair.data.encoding import ImageMetadata, encode
from udair.data.images import DecodeLimits, decode, encode_png
from udair_platform.errors import TooManyRequests, Unavailable
from udair_platform.serving.http.restore import RestoreService
from udair_platform.serving.http.room import Room
from udair_platform.serving.request import RestoreRequest

LIMITS = DecodeLimits(max_bytes=48 * 2**20, max_pixels=24_000_000, processor_s=1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    made = Plane(tmp_path_factory.mktemp("plane"), limits=LIMITS)
    made._routes["good/plain"] = made._routes["acme/plain"]
    made.write()
    with answering(made):
        yield made


def post(plane, body: bytes, tenant: str = "acme", **headers: str) -> httpx.Response:
    url = f"{plane.url}/v1/domains/plain:restore"
    return httpx.post(url, content=body, headers=bearer(tenant=tenant) | headers, timeout=60)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (odd_images.huge_png(), 413, "TOO_MANY_PIXELS"),
        (odd_images.huge_webp(16_000, 16_000), 413, "TOO_MANY_PIXELS"),
        (odd_images.huge_tile(), 422, "TOO_COSTLY"),
        (odd_images.many_scans(1500), 422, "TOO_COSTLY"),
        (b"P3\n9 9\n255\n" + b"1 " * 10_000, 422, "UNSUPPORTED"),
        (b"GIF89a", 422, "UNSUPPORTED"),
    ],
    ids=["png", "webp", "tile", "scans", "plain pnm", "gif"],
)
def test_what_is_refused_is_called_by_its_name(plane, body, status, reason):
    answer = post(plane, body)
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (status, reason)


@pytest.mark.hostile  # against the clock: a machine that is busy otherwise tells nothing
def test_a_neighbour_is_answered_while_costly_images_are_decoded(plane):
    costly, answers = odd_images.slow_bmp(3000), []
    flood = [threading.Thread(target=lambda: answers.append(post(plane, costly))) for _ in range(4)]
    for thread in flood:
        thread.start()
    innocent, meanwhile = [], 0
    for number in range(10):
        innocent.append(post(plane, encode_png(make_image(number)), tenant="good").status_code)
        meanwhile += len(answers) < len(flood)
    for thread in flood:
        thread.join()
    assert innocent == [200] * 10
    assert meanwhile  # at least one was answered before the flood was
    for answer in answers:
        assert answer.status_code in (422, 429)
    assert any("TOO_COSTLY" in answer.json()["detail"] for answer in answers)


def test_an_image_that_waited_for_others_is_not_called_bad():
    door = DecodeDoor(1, waiting=1)

    async def infer(asked, image):
        raise AssertionError("nothing is decoded")

    async def ask() -> None:
        service = RestoreService(infer, LIMITS, door=door, patience_s=0.2)
        asked = RestoreRequest("good/plain", "")
        with pytest.raises(Unavailable, match="because of others") as caught:
            await service.restore(encode_png(make_image()), asked)
        assert caught.value.retryable
        blocked = door.submit(encode_png(make_image()), tenant="good")
        with pytest.raises(TooManyRequests, match="1 images of good wait"):
            await service.restore(encode_png(make_image()), asked)
        blocked.cancel()

    try:
        door.decode(encode_png(make_image()))
        door.submit(odd_images.slow_bmp(4500), LIMITS, tenant="evil")
        asyncio.run(ask())
    finally:
        door.close()


def test_a_document_that_names_an_image_is_short(plane):
    body = b'{"input_uri": [' + b"{}," * 10_000 + b"{}]}"
    answer = post(plane, body, **{"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")


def test_a_document_of_many_values_is_refused_unread(plane):
    body = b'{"inputs": [' + b"{}," * 1_000_000 + b"{}]}"
    url = f"{plane.url}/v2/models/plain/infer"
    answer = httpx.post(url, content=body, headers=bearer(), timeout=60)
    assert (answer.status_code, "more than 1000 values" in answer.json()["detail"]) == (400, True)
    head = json.dumps({"id": "x" * 100_000}).encode()
    headers = bearer() | {"Inference-Header-Content-Length": str(len(head))}
    assert "at most 65536" in httpx.post(url, content=head, headers=headers).json()["detail"]


@pytest.mark.parametrize("length", ["²".encode("latin-1"), b"9" * 5000, b"-1", b"1_0", b"99"])
def test_a_length_that_is_none_is_a_bad_request(plane, length):
    headers = bearer() | {"Inference-Header-Content-Length": length}
    answer = httpx.post(f"{plane.url}/v2/models/plain/infer", content=b"{}", headers=headers)
    assert answer.status_code == 400, answer.text


def test_what_a_format_cannot_hold_is_said_before_the_model_runs(plane, monkeypatch):
    exif = Image.Exif()
    exif[0x9286] = bytes(70_000)
    data = encode(make_image(), ImageMetadata("PNG", exif.tobytes()))
    answer = post(plane, data, Accept="image/jpeg")
    assert answer.status_code == 200
    assert "JPEG holds 65533" in answer.headers["x-dropped"]
    assert "x-dropped" not in post(plane, data).headers
    monkeypatch.setattr(plane.backbone, "infer", None)
    answer = post(plane, encode_png(np.zeros((16_400, 8, 3), np.uint8)), Accept="image/webp")
    assert (answer.status_code, answer.json()["detail"][:11]) == (422, "UNSUPPORTED")


def test_a_tiff_comes_back_as_a_tiff_that_can_be_read(plane):
    rgba = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    answer = post(plane, odd_images.tiff(rgba, tags={338: ("H", (2,))}), Accept="image/tiff")
    assert answer.status_code == 200
    assert decode(answer.content).shape == (48, 64, 3)


def test_room_is_shared_and_given_back():
    room = Room(100)
    with room.held("a") as one, room.held("a") as two, room.held("b") as other:
        one.add(30)
        one.add(60)  # alone, it may have more than its share
        with pytest.raises(TooManyRequests, match="of this tenant"):
            two.add(10)
        other.add(10)
        with pytest.raises(TooManyRequests, match="100 bytes are on"), room.held("c") as third:
            third.add(1)
    with room.held("b") as all_again:
        all_again.add(100)
    assert (room._open, dict(room._of)) == (0, {})


@pytest.mark.hostile
@pytest.mark.parametrize("attack", ["scans", "runs", "png", "webp", "tile", "uri", "values"])
def test_a_neighbours_slowest_answers_are_hardly_slower_under_attack(plane, attack):
    url, bodies = (
        f"{plane.url}/v1/domains/plain:restore",
        {
            "scans": odd_images.many_scans(1500, 4880),
            "runs": odd_images.slow_bmp(4500),
            "png": odd_images.huge_png(),
            "webp": odd_images.huge_webp(4880, 4880),
            "tile": odd_images.huge_tile(),
            "uri": b'{"input_uri": [' + b"{}," * 10**7 + b"{}]}",
            "values": b'{"inputs": [' + b"{}," * 10**7 + b"{}]}",
        },
    )
    headers = bearer() | ({"Content-Type": "application/json"} if attack == "uri" else {})
    at = f"{plane.url}/v2/models/plain/infer" if attack == "values" else url
    good = encode_png(make_image(1, 256, 256))

    def slowest(count: int = 60) -> float:
        spent = []
        with httpx.Client(headers=bearer(tenant="good"), timeout=60) as client:
            for _ in range(count):
                began = time.perf_counter()
                answer = client.post(url, content=good)
                assert answer.status_code == 200, answer.text
                spent.append(time.perf_counter() - began)
                time.sleep(0.02)
        return sorted(spent)[int(0.99 * count) - 1]

    slowest(20)
    alone, over = slowest(), threading.Event()

    def again() -> None:
        # Elsewhere, in truth: what the attacker computes is not what the server does, and must not be measured.
        program = (
            "import os, sys, httpx\nos.nice(19)\nbody = sys.stdin.buffer.read()\n"
            f"while True:\n  print(httpx.post({at!r}, content=body, headers={headers!r}, timeout=60).status_code, flush=True)"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(bodies[attack])
        process.stdin.close()
        process.stdout.readline()
        started.release()
        over.wait()
        process.kill()
        process.wait()
        process.stdout.close()

    started = threading.Semaphore(0)
    attackers = [threading.Thread(target=again) for _ in range(4)]
    for attacker in attackers:
        attacker.start()
    try:
        assert started.acquire(timeout=60)
        attacked = slowest()
    finally:
        over.set()
        for attacker in attackers:
            attacker.join()
    print(f"{attack}: slowest {1000 * alone:.0f} ms alone, {1000 * attacked:.0f} ms under attack")
    # Twice, and what four clients that never rest take of two cores.
    assert attacked <= 2 * alone + 0.25
