"""Adaptation jobs: watched, waited for, cancelled, run once more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from udair_platform.client.asynchronous.bound import AsyncBound
from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.asynchronous.versions import AsyncVersion
from udair_platform.client.errors import GateRejected, JobFailed, WaitTimeout
from udair_platform.client.names import checked
from udair_platform.client.waiting import async_pause
from udair_platform.contract import jobs as contract
from udair_platform.contract.events import Event

POLL_S = 0.5
_ENDS = ("job.SUCCEEDED", "job.FAILED", "job.CANCELLED", "job.EXPIRED")


class AsyncJob(AsyncBound, contract.Job):
    """A job as it was when it was asked for; `refresh` asks again."""

    @property
    def _path(self) -> str:
        return f"/v1/domains/{self.domain}/jobs/{self.id}"

    async def refresh(self) -> AsyncJob:
        """The job as it is now."""
        return AsyncJob.bind(self._transport, await self._transport.json("GET", self._path))

    async def stream(self, *, timeout_s: float | None = None, poll_s: float = POLL_S) -> AsyncIterator[AsyncJob]:
        """The job, each time that something about it is new, until it is done.

        Raises:
            WaitTimeout: It was not done within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen: tuple[Any, ...] | None = None
        while True:
            now = await self.refresh()
            news = (now.state, now.phase, now.progress_percent, now.attempt, now.message, now.detail)
            if news != seen or now.done:
                seen = news
                yield now
            if now.done:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(now, timeout_s or 0.0)
            await async_pause(poll_s)

    async def wait(self, *, timeout_s: float | None = None, poll_s: float = POLL_S) -> AsyncJob:
        """The job once it is done, however it ended. Raises WaitTimeout."""
        last = self
        async for now in self.stream(timeout_s=timeout_s, poll_s=poll_s):
            last = now
        return last

    async def result(self, *, timeout_s: float | None = None) -> AsyncVersion:
        """The version that the job made.

        Raises:
            WaitTimeout: It was not done in time.
            JobFailed: It ended without a version.
            GateRejected: The gate said no; `.version` is the version all the same.
        """
        done = await self.wait(timeout_s=timeout_s)
        if done.version is None:
            raise JobFailed(done)
        path = f"/v1/domains/{done.domain}/versions/{done.version}"
        version = AsyncVersion.bind(self._transport, await self._transport.json("GET", path))
        if version.verdict == "FAILED":
            failed = [item["name"] for item in (version.gate or {}).get("checks", []) if not item["passed"]]
            error = GateRejected(
                f"{done.domain}@{version.number} was rejected by the gate: {', '.join(failed)}.",
                code="GATE_REJECTED",
            )
            error.version = version
            raise error
        return version

    async def cancel(self) -> AsyncJob:
        """Ask the job to end."""
        return AsyncJob.bind(self._transport, await self._transport.json("POST", f"{self._path}:cancel"))

    async def retry(self) -> AsyncJob:
        """Run this job, which has ended, once more; the new job. Raises Conflict."""
        return AsyncJob.bind(self._transport, await self._transport.json("POST", f"{self._path}:retry"))

    async def logs(self, *, attempt: int | None = None) -> str:
        """What the job has printed."""
        params = {} if attempt is None else {"attempt": attempt}
        return await self._transport.text(f"{self._path}/logs", params=params)

    async def follow_logs(self, *, attempt: int | None = None) -> AsyncIterator[str]:
        """What the job has printed and prints, line by line, until it is done."""
        params = {} if attempt is None else {"attempt": attempt}
        stream = self._transport.stream(f"{self._path}/logs", params=params, ends=lambda item: item.event == "end")
        async for item in stream:
            if item.event == "line":
                yield item.data

    async def curves(self) -> contract.JobCurves:
        """How the training went, step by step: of the newest attempt that trained."""
        return contract.JobCurves.model_validate(await self._transport.json("GET", f"{self._path}/curves"))

    async def events(self, *, follow: bool = False) -> AsyncIterator[Event]:
        """What happened to the job, oldest first; with `follow`, until it is done."""
        path = f"{self._path}/events"
        if not follow:
            async for item in self._transport.pages(path, "events"):
                yield Event.model_validate(item)
            return
        async for item in self._transport.stream(path, ends=lambda item: item.event in _ENDS):
            yield Event.model_validate_json(item.data)


class AsyncJobs:
    """Jobs of all the domains that the key reaches."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, id: str) -> AsyncJob:
        """One job. Raises NotFound."""
        return AsyncJob.bind(self._transport, await self._transport.json("GET", f"/v1/domains/-/jobs/{checked(id)}"))

    async def list(self, *, limit: int | None = None) -> AsyncIterator[AsyncJob]:
        """Jobs, newest first."""
        async for item in self._transport.pages("/v1/domains/-/jobs", "jobs", limit=limit):
            yield AsyncJob.bind(self._transport, item)
