"""Streams of the SDK: they end when the job does, and go on after a broken connection."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from udair_platform.client import AsyncClient, Client, Forbidden, InvalidRequest

SOURCE = "s3://acme-photos/cams"
JOB = {
    "id": "j-1",
    "domain": "foggy-cams",
    "state": "RUNNING",
    "done": False,
    "snapshot_id": "s-1",
    "base_model": {"name": "tiny", "digest": "d"},
    "created_time": "2026-01-01T00:00:00Z",
    "updated_time": "2026-01-01T00:00:00Z",
}


def test_events_and_logs_of_a_job_are_followed_to_its_end(live) -> None:
    with live.client() as client:
        job = client.domains.create("foggy-cams", SOURCE).adapt()
        kinds = [event.kind for event in job.events(follow=True)]
        assert kinds[-1] == "job.SUCCEEDED"
        assert kinds == [event.kind for event in job.events()]
        assert "\n".join(job.follow_logs()) == job.logs().rstrip("\n")
        assert [event.kind for event in job.events(follow=True)] == kinds  # of a job that has ended, too


def test_both_clients_see_the_same(live) -> None:
    async def look() -> tuple[list[str], list[str], str]:
        async with AsyncClient(home=live.home) as client:
            domain = await client.domains.create("foggy-cams", SOURCE)
            job = await domain.adapt(steps=3)
            version = await job.result(timeout_s=30)
            await version.promote(reason="good")
            return (
                [event.kind async for event in job.events(follow=True)],
                [item.name async for item in client.domains.list()],
                (await version.lineage()).job_id,
            )

    kinds, names, job = asyncio.run(look())
    with live.client() as client:
        assert [event.kind for event in client.jobs.get(job).events()] == kinds
        assert [item.name for item in client.domains.list()] == names
        assert client.domains.get("foggy-cams").champion == 1


def test_a_stream_that_breaks_goes_on_after_the_last_event(serve) -> None:
    asked: list[str | None] = []

    async def logs(request: Request) -> Response:
        asked.append(request.headers.get("last-event-id"))
        after = int(request.headers.get("last-event-id", 0))

        async def lines():
            for number in itertools.count(after + 1):
                if number > 5:
                    yield "event: end\nid: 5\ndata: SUCCEEDED\n\n"
                    return
                yield f": ping\n\nevent: line\nid: {number}\ndata: line {number}\n\n"
                if number in (2, 4):
                    raise OSError("the connection is gone")

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def job(request: Request) -> Response:
        import json

        return Response(json.dumps(JOB), media_type="application/json")

    url = serve(
        Starlette(
            routes=[
                Route("/v1/domains/-/jobs/j-1", job),
                Route("/v1/domains/foggy-cams/jobs/j-1/logs", logs),
            ]
        )
    )
    with Client(url, "ak_x") as client:
        assert list(client.jobs.get("j-1").follow_logs()) == [f"line {number}" for number in range(1, 6)]
    assert asked == [None, "2", "4"]


def test_a_stream_that_is_refused_is_an_error_and_not_an_end(live) -> None:
    live.plane.domain()
    with live.client(live.plane.token("domain:read")) as reader, pytest.raises(Forbidden):
        next(reader.events(follow=True))
    with live.client() as client, pytest.raises(InvalidRequest):
        next(client._transport.stream("/v1/events", last_id="none of ours"))
