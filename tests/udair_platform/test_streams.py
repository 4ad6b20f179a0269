"""Events and logs as they happen: resumed, filtered by tenant, cheap for slow readers, ended with the job."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import httpx
import pytest

from udair_platform.api.feed import Feed, Filter
from udair_platform.documents import store_paths
from udair_platform.entities.event import Event
from udair_platform.errors import StateUnavailable
from udair_platform.services import api_keys
from udair_platform.state.repositories import ALL_TENANTS


def _record(plane, count: int = 1, *, tenant: str = "acme", noun: str = "thing", name: str = "t-1") -> None:
    with plane.database.write() as state:
        for number in range(count):
            state.events.add(
                Event(
                    tenant=tenant,
                    time=plane.clock(),
                    actor="test",
                    cause="test",
                    noun=noun,
                    name=name,
                    kind=f"{noun}.happened",
                    data={"number": number},
                )
            )


def _newest(plane) -> int:
    with plane.database.read() as state:
        return state.events.newest(ALL_TENANTS)


async def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.005)


async def _take(stream, count: int, found: list | None = None) -> list:
    found = [] if found is None else found
    async with aclosing(stream):
        async for event in stream:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("an endless stream ended")


def test_a_listener_that_comes_late_reads_pages_and_then_the_news(plane):
    _record(plane, 1200)
    begin = _newest(plane) - 1200
    feed = Feed(plane.database, poll_s=0.01, kept=50)

    async def scenario():
        read: list[Event] = []
        taking = asyncio.create_task(_take(feed.follow(Filter("acme"), begin), 1500, read))
        await _until(lambda: len(read) == 1200)
        await asyncio.to_thread(_record, plane, 300)
        return await asyncio.wait_for(taking, 20)

    found = [event.seq for event in asyncio.run(scenario())]
    assert found == list(range(begin + 1, begin + 1501))


def test_ten_thousand_events_reach_a_slow_reader_in_order_and_little_is_kept(plane):
    feed = Feed(plane.database, poll_s=0.01, kept=200)

    async def scenario():
        slow, begin = [], _newest(plane)
        async with aclosing(feed.follow(Filter("acme"), None)) as stream:
            writing = asyncio.create_task(asyncio.to_thread(_record, plane, 10_000))
            async for event in stream:
                slow.append(event.seq)
                if len(slow) % 1000 == 0:
                    await asyncio.sleep(0.02)
                assert len(feed._events) <= 200
                if len(slow) == 10_000:
                    break
            await writing
        return begin, slow

    begin, slow = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert slow == list(range(begin + 1, begin + 10_001))
    assert feed._poller is None, "nobody listens, nobody asks"


def test_a_listener_sees_its_tenant_and_its_filter_only(plane):
    feed = Feed(plane.database, poll_s=0.01)

    async def scenario():
        taking = asyncio.create_task(_take(feed.follow(Filter("acme", noun="thing", name="t-2"), None), 2))
        await _until(lambda: feed._poller is not None)
        await asyncio.to_thread(_record, plane, 3, tenant="globex", name="t-2")
        await asyncio.to_thread(_record, plane, 3, name="t-1")
        await asyncio.to_thread(_record, plane, 2, name="t-2")
        return await asyncio.wait_for(taking, 10)

    assert {(event.tenant, event.name) for event in asyncio.run(scenario())} == {("acme", "t-2")}


def test_a_database_that_is_away_for_a_moment_loses_no_event(plane, monkeypatch):
    feed = Feed(plane.database, poll_s=0.01)
    away, refused = threading.Event(), threading.Event()
    page = Feed._page

    def sometimes(self, wanted, after):
        if away.is_set():
            refused.set()
            raise StateUnavailable("away")
        return page(self, wanted, after)

    monkeypatch.setattr(Feed, "_page", sometimes)

    async def scenario():
        taking = asyncio.create_task(_take(feed.follow(Filter("acme"), None), 5))
        await _until(lambda: feed._poller is not None)
        away.set()
        await asyncio.to_thread(_record, plane, 5)
        await _until(refused.is_set)
        away.clear()
        return await asyncio.wait_for(taking, 10)

    assert len(asyncio.run(scenario())) == 5


@pytest.fixture
def events_of(live):
    """Reads a stream over HTTP: (id, event, data) triples until it ends or `count` have come."""

    def read(path: str, count: int | None = None, last_id: str | None = None):
        headers = {"Authorization": f"Bearer {live.plane.admin_token}", "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        found, fields = [], {}
        with httpx.stream("GET", f"{live.url}{path}", headers=headers, timeout=30) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line:
                    key, _, value = line.partition(": ")
                    fields[key] = value
                elif "data" in fields:
                    found.append((fields.get("id"), fields.get("event"), fields["data"]))
                    fields = {}
                    if len(found) == count:
                        break
        return found

    return read


def test_a_jobs_events_end_with_the_job_and_are_resumed(live, events_of):
    job = live.client().domains.create("foggy-cams", "s3://acme/cams").adapt()
    path = f"/v1/domains/foggy-cams/jobs/{job.id}/events"
    told: list = []
    listening = threading.Thread(target=lambda: told.extend(events_of(path)))
    listening.start()
    job.wait(timeout_s=60)
    listening.join(30)
    assert (told[0][1], told[-1][1]) == ("job.QUEUED", "job.SUCCEEDED")
    assert events_of(path) == told, "an ended job's events are the same afterwards"
    assert events_of(path, last_id=told[1][0]) == told[2:]
    assert events_of(path, last_id=told[-1][0]) == []


def test_a_log_is_followed_line_by_line_to_its_end(live, events_of):
    job = live.client().domains.create("foggy-cams", "s3://acme/cams").adapt().wait(timeout_s=60)
    key = f"{store_paths.attempt('acme', 'foggy-cams', job.id, 1)}/{store_paths.LOG}"
    live.plane.store.put(key, b"one\ntwo\nthree")
    path = f"/v1/domains/foggy-cams/jobs/{job.id}/logs"
    assert events_of(path) == [
        ("1.4", "line", "one"),
        ("1.8", "line", "two"),
        ("1.13", "line", "three"),
        ("1.13", "end", "SUCCEEDED"),
    ]
    assert events_of(path, last_id="1.8") == [("1.13", "line", "three"), ("1.13", "end", "SUCCEEDED")]


def test_a_log_longer_than_what_is_kept_is_followed_on_and_what_is_missing_is_said(make_plane, serve, monkeypatch):
    monkeypatch.setattr("udair_platform.api.streams.LOG_POLL_S", 0.05)
    plane = make_plane()
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    printed: list[str] = []
    monkeypatch.setattr(
        plane.launcher, "logs", lambda id, max_bytes: "".join(printed).encode()[-max_bytes:].decode(errors="replace")
    )

    def prints(first: int, last: int) -> None:
        printed.extend(f"step {number} loss 0.{number:07d} {'é' * 40}\n" for number in range(first, last))
        plane.clock.forward(11)
        plane.reconciler.tick()

    prints(0, 9_000)  # about 0.9 MiB
    plane.reconciler.tick()
    told: list[str] = []
    headers = {"Authorization": f"Bearer {plane.admin_token}", "Accept": "text/event-stream"}
    url = f"{serve(plane.client.app)}/v1/domains/foggy-cams/jobs/{job.id}/logs"

    def listen() -> None:
        with httpx.stream("GET", url, headers=headers, timeout=60) as response:
            told.extend(line[6:] for line in response.iter_lines() if line.startswith("data: "))

    def heard(number: int) -> None:
        end = time.monotonic() + 60
        while not any(line.startswith(f"step {number} ") for line in list(told[-9_000:])):
            assert time.monotonic() < end, f"step {number} was never told; the last was {told[-1:]}"
            time.sleep(0.05)

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    heard(8_999)
    for first in (9_000, 12_000, 15_000):  # past what is kept, and on
        prints(first, first + 3_000)
        heard(first + 2_999)
    prints(18_000, 40_000)  # more at once than is kept
    heard(39_999)
    plane.launcher.finish(plane.launcher.launched[0])
    plane.settle(job.id)
    listening.join(30)
    assert told[-1] == "SUCCEEDED"
    steps = [int(line.split()[1]) for line in told if line.startswith("step ")]
    assert steps[:18_000] == list(range(18_000))
    assert steps == sorted(set(steps)), "no line twice"
    gaps = [at for at, line in enumerate(told) if line.endswith("bytes before this line are not kept]")]
    assert gaps == [18_000], "one gap, and it is said where it is"
    text = plane.client.get(f"/v1/domains/foggy-cams/jobs/{job.id}/logs").text
    assert text.startswith("[at least ")
    assert text.endswith(printed[-1])


def test_a_log_goes_on_with_the_next_attempt(live, events_of):
    job = live.client().domains.create("foggy-cams", "s3://acme/cams").adapt().wait(timeout_s=60)
    folder = store_paths.attempt("acme", "foggy-cams", job.id, 1)
    live.plane.store.put(f"{folder}/{store_paths.LOG}", b"one\ntwo\n")
    with live.plane.database.write() as state:
        state.jobs.save(replace(state.jobs.get("acme", job.id), attempt=2))
    live.plane.store.put(f"{folder[:-1]}2/{store_paths.LOG}", b"again\n")
    assert events_of(f"/v1/domains/foggy-cams/jobs/{job.id}/logs", last_id="1.4") == [
        ("1.8", "line", "two"),
        ("2.0", "line", "[attempt 2 begins]"),
        ("2.6", "line", "again"),
        ("2.6", "end", "SUCCEEDED"),
    ]


def test_what_cannot_be_streamed_is_refused_before_the_stream(live):
    headers = {"Authorization": f"Bearer {live.plane.admin_token}", "Accept": "text/event-stream"}
    assert httpx.get(f"{live.url}/v1/domains/none/jobs/j-1/events", headers=headers).status_code == 404
    wrong = httpx.get(f"{live.url}/v1/events", headers=headers | {"Last-Event-ID": "x"})
    assert wrong.status_code == 400
    assert wrong.json()["code"] == "BAD_REQUEST"


def test_a_stream_ends_when_its_key_is_revoked(live, monkeypatch):
    monkeypatch.setattr("udair_platform.api.streams.CHECK_KEY_S", 0.0)
    with live.plane.change() as tx:
        key, token = api_keys.create_key(tx, live.plane.signing_key, tenant="acme", name="watcher", scopes=["admin"])
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    with httpx.stream("GET", f"{live.url}/v1/events", headers=headers, timeout=20) as response:
        lines = response.iter_lines()
        asyncio.run(_until(lambda: live.plane.client.app.state.context.feed._poller is not None))
        _record(live.plane)
        assert any("thing.happened" in line for line in lines if line.startswith("event"))
        with live.plane.change() as tx:
            api_keys.revoke_key(tx, tenant="acme", kid=key.kid)
        _record(live.plane)
        rest = list(lines)
    assert any("KEY_REVOKED" in line for line in rest)
