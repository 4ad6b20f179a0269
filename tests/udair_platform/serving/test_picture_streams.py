"""Pictures over one WebSocket: in order, bounded, and with the same rights as requests of their own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from data_plane import Plane, answering, apart, bearer, make_adapter, make_image, offline, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from udair.data.images import decode, encode_png
from udair_platform.serving.http.streams import MOST_OF_TENANT, WINDOW

SMALL = encode_png(make_image(3, 16, 16))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with answering(Plane(tmp_path_factory.mktemp("plane"))) as made:
        yield made


@contextlib.contextmanager
def _stream(plane, name: str = "plain", query: str = "", **claims: Any) -> Iterator[ClientConnection]:
    url = f"{plane.url.replace('http', 'ws')}/v1/domains/{name}/stream{query}"
    with connect(url, additional_headers=bearer(**claims), max_size=None) as stream:
        yield stream


def _answer(stream: ClientConnection) -> tuple[dict[str, Any], bytes]:
    said = json.loads(stream.recv(timeout=60))
    return said, stream.recv(timeout=60) if said["status"] == 200 else b""


def _closed(stream: ClientConnection) -> tuple[int, str]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            stream.recv(timeout=20)
        except ConnectionClosed as end:
            said = end.rcvd
            return (said.code, said.reason) if said else (0, "without a word")
    raise AssertionError("it stays open")


def test_answers_come_in_the_order_of_the_pictures_with_what_their_own_requests_would_say(plane):
    plane.route("film", make_adapter(0.2))
    images = [make_image(number, side, side) for number, side in enumerate((224, 16, 48, 16))]
    with _stream(plane, "film", "?quality=90") as stream:
        for image in images:
            stream.send(encode_png(image))
        for number, image in enumerate(images):
            said, picture = _answer(stream)
            assert (said["number"], said["status"]) == (number, 200)
            assert said["headers"]["Content-Type"] == "image/png"
            assert said["headers"]["X-Adapter-Version"] == "1"
            assert said["headers"]["X-Receipt"]
            assert apart(decode(picture), offline(image, plane.adapters["film"])) <= 1
        stream.send(b"")
        assert _closed(stream) == (1000, "")


def test_a_refused_picture_is_told_in_its_place_and_ends_nothing(plane):
    with _stream(plane) as stream:
        for data in (SMALL, b"no picture", SMALL):
            stream.send(data)
        told = [_answer(stream) for _ in range(3)]
        assert [said["status"] for said, _ in told] == [200, 422, 200]
        assert "NOT_AN_IMAGE" in told[1][0]["detail"]
        digests = {hashlib.sha256(picture).hexdigest() for _, picture in (told[0], told[2])}
        assert len(digests) == 1


def test_the_end_waits_for_what_is_under_way_and_text_is_refused(plane):
    with _stream(plane) as stream:
        for _ in range(5):
            stream.send(SMALL)
        stream.send(b"")
        assert [_answer(stream)[0]["number"] for _ in range(5)] == list(range(5))
        assert _closed(stream)[0] == 1000
    with _stream(plane) as stream:
        stream.send(SMALL)
        stream.send("and now in words")
        assert _answer(stream)[0]["status"] == 200
        code, reason = _closed(stream)
        assert (code, "binary message" in reason) == (1003, True)


def test_no_more_than_a_window_of_pictures_is_under_way(plane, monkeypatch):
    infer, begun = plane.backbone.infer, []
    gate = time.monotonic() + 3.0  # long enough for all that would come without a window

    async def held(question, image):
        import asyncio

        begun.append(1)
        while time.monotonic() < gate:
            await asyncio.sleep(0.02)
        return await infer(question, image)

    monkeypatch.setattr(plane.backbone, "infer", held)
    with _stream(plane) as stream:
        for _ in range(2 * WINDOW):
            stream.send(SMALL)
        until(lambda: len(begun) >= WINDOW)
        while time.monotonic() < gate - 0.5:
            assert len(begun) == WINDOW
            time.sleep(0.1)
        assert [_answer(stream)[0]["status"] for _ in range(2 * WINDOW)] == [200] * 2 * WINDOW


@pytest.mark.parametrize(
    ("name", "claims", "code"),
    [
        ("plain", {"scopes": ("domain:read",)}, 4403),
        ("plain", {"domains": ("other",)}, 4403),
        ("nowhere", {}, 4404),
    ],
)
def test_a_stream_needs_the_rights_that_a_request_needs(plane, name, claims, code):
    with _stream(plane, name, **claims) as stream:
        found, reason = _closed(stream)
        assert found == code
        assert reason


def test_a_stream_without_a_key_is_refused(plane):
    with connect(f"{plane.url.replace('http', 'ws')}/v1/domains/plain/stream") as stream:
        assert _closed(stream)[0] == 4401


def test_a_key_that_is_revoked_ends_its_streams(plane):
    with _stream(plane, kid="kid9") as stream:
        stream.send(SMALL)
        assert _answer(stream)[0]["status"] == 200
        plane.write(revoked=["kid9"])
        stream.send(SMALL)
        code, reason = _closed(stream)
        assert code == 4401
        assert "revoked" in reason
    plane.write()


def test_a_tenant_has_so_many_streams_and_those_that_break_off_count_no_more(tmp_path):
    # A data plane of its own: for a moment, streams of the tests before and after would count.
    with answering(Plane(tmp_path)) as plane, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_stream(plane)) for _ in range(MOST_OF_TENANT)]
        for stream in streams:
            stream.send(SMALL)
            assert _answer(stream)[0]["status"] == 200
        with _stream(plane) as one_more:
            assert _closed(one_more)[0] == 4429
        streams[0].send(encode_png(make_image(1, 256, 256)))
        streams[0].socket.close()

        def again() -> bool:
            with _stream(plane) as stream, contextlib.suppress(ConnectionClosed):
                stream.send(SMALL)
                return _answer(stream)[0]["status"] == 200
            return False

        until(again)


def test_a_stream_on_which_nothing_comes_is_closed(tmp_path):
    class Impatient(Plane):
        stream_idle_s = 0.3

    with answering(Impatient(tmp_path)) as made, _stream(made) as stream:
        code, reason = _closed(stream)
        assert (code, reason) == (1001, "Nothing came for 0.3 s.")


def test_many_streams_at_once_keep_their_own_order(plane):
    def run(seed: int) -> list[int]:
        with _stream(plane) as stream:
            for number in range(6):
                stream.send(encode_png(make_image(seed + number, 16 + 16 * (number % 3), 16)))
            return [_answer(stream)[0]["number"] for _ in range(6)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [list(range(6))] * 4
