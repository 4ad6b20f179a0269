"""Nouns with verbs: a domain adapts and promotes, a job is waited for, a version is looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeVar

from pydantic import Field, PrivateAttr

from udair_platform.client.errors import GateRejected, JobFailed, WaitTimeout
from udair_platform.client.models import (
    Alias,
    AliasChange,
    Attempt,
    BaseModelInfo,
    Event,
    GateReport,
    GateRules,
    Model,
    Route,
    Snapshot,
)
from udair_platform.client.transport import Transport

B = TypeVar("B", bound="Bound")
POLL_S = 0.5


class Bound(Model):
    """A value that knows where it came from."""

    _transport: Transport = PrivateAttr()

    @classmethod
    def of(cls: type[B], transport: Transport, data: Any) -> B:
        """The value in `data`, bound to `transport`."""
        value = cls.model_validate(data)
        value._transport = transport
        return value


class Version(Bound):
    """An adapter version."""

    number: int
    domain: str
    state: str
    verdict: str | None = None
    gate: dict[str, Any] | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    job_id: str
    snapshot: str
    base_model: BaseModelInfo
    adapter_digest: str
    code_version: str = ""
    aliases: list[str] = Field(default_factory=list)
    reviewed_by: str | None = None
    reviewed_time: datetime | None = None
    review_reason: str = ""
    created_time: datetime

    def report(self) -> GateReport:
        """The gate's report and the evidence that it judged."""
        return GateReport.model_validate(
            self._transport.json("GET", f"/v1/domains/{self.domain}/versions/{self.number}/gate")
        )

    def promote(self, *, reason: str = "", if_current: int | None = None) -> Alias:
        """Let this version serve. Raises GateRejected, Conflict."""
        return _promote(self._transport, self.domain, str(self.number), reason, if_current)

    def approve(self, *, reason: str = "") -> Version:
        """Let this version be promoted although the gate could not judge it. Raises Conflict, Forbidden."""
        return self._decide("approve", reason)

    def reject(self, *, reason: str = "") -> Version:
        """Refuse this version, which waits for a person, for good. Raises Conflict."""
        return self._decide("reject", reason)

    def archive(self, *, reason: str = "") -> Version:
        """Put this version away; nothing may point at it. Raises Conflict."""
        return self._decide("archive", reason)

    def _decide(self, verb: str, reason: str) -> Version:
        path = f"/v1/domains/{self.domain}/versions/{self.number}:{verb}"
        return Version.of(self._transport, self._transport.json("POST", path, body={"reason": reason}))


class Job(Bound):
    """A job as it was when it was asked for; `refresh` asks again."""

    id: str
    domain: str
    state: str
    done: bool
    phase: str | None = None
    progress_percent: float = 0.0
    eta_seconds: float | None = None
    metrics: dict[str, float | None] = Field(default_factory=dict)
    phases: list[dict[str, Any]] = Field(default_factory=list)
    message: str = ""
    reason: str | None = None
    detail: str = ""
    attempt: int = 0
    attempts: list[Attempt] | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)
    snapshot: str
    base_model: BaseModelInfo
    version: int | None = None
    created_time: datetime
    started_time: datetime | None = None
    finished_time: datetime | None = None

    @property
    def _path(self) -> str:
        return f"/v1/domains/{self.domain}/jobs/{self.id}"

    def refresh(self) -> Job:
        """The job as it is now."""
        return Job.of(self._transport, self._transport.json("GET", self._path))

    def stream(self, *, timeout_s: float | None = None, poll_s: float = POLL_S) -> Iterator[Job]:
        """The job, each time that something about it is new, until it is done.

        Raises:
            WaitTimeout: It was not done within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        seen: tuple[Any, ...] | None = None
        while True:
            now = self.refresh()
            news = (now.state, now.phase, now.progress_percent, now.attempt, now.message)
            if news != seen or now.done:
                seen = news
                yield now
            if now.done:
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(now, timeout_s or 0.0)
            time.sleep(poll_s)

    def wait(self, *, timeout_s: float | None = None, poll_s: float = POLL_S) -> Job:
        """The job once it is done, however it ended. Raises WaitTimeout."""
        *_, last = self.stream(timeout_s=timeout_s, poll_s=poll_s)
        return last

    def result(self, *, timeout_s: float | None = None) -> Version:
        """The version that the job made.

        Raises:
            WaitTimeout: It was not done in time.
            JobFailed: It ended without a version.
            GateRejected: The gate said no; `.version` is the version all the same.
        """
        done = self.wait(timeout_s=timeout_s)
        if done.version is None:
            raise JobFailed(done)
        path = f"/v1/domains/{done.domain}/versions/{done.version}"
        version = Version.of(self._transport, self._transport.json("GET", path))
        if version.verdict == "FAILED":
            failed = [item["name"] for item in (version.gate or {}).get("checks", []) if not item["passed"]]
            error = GateRejected(
                f"{done.domain}@{version.number} was rejected by the gate: {', '.join(failed)}.",
                code="GATE_REJECTED",
            )
            error.version = version
            raise error
        return version

    def cancel(self) -> Job:
        """Ask the job to end."""
        return Job.of(self._transport, self._transport.json("POST", f"{self._path}:cancel"))

    def logs(self, *, attempt: int | None = None) -> str:
        """What the job has printed."""
        params = {} if attempt is None else {"attempt": attempt}
        return self._transport.text(f"{self._path}/logs", params=params)

    def events(self) -> Iterator[Event]:
        """What happened to the job, oldest first."""
        return map(Event.model_validate, self._transport.pages(f"{self._path}/events", "events"))


class Domain(Bound):
    """A domain."""

    name: str
    id: str
    source_uri: str
    description: str = ""
    gate: GateRules
    state: str
    champion: int
    aliases: dict[str, int] = Field(default_factory=dict)
    etag: str
    created_time: datetime

    @property
    def _path(self) -> str:
        return f"/v1/domains/{self.name}"

    def refresh(self) -> Domain:
        """The domain as it is now."""
        return Domain.of(self._transport, self._transport.json("GET", self._path))

    def adapt(self, *, snapshot: str | None = None, idempotency_key: str | None = None, **recipe: Any) -> Job:
        """Queue an adaptation job; returns at once.

        Args:
            snapshot: A snapshot to use again, or ``latest``; None looks into the bucket.
            recipe: Fields of the recipe, e.g. ``steps=200``.
        """
        body = {"recipe": recipe, **({"snapshot": snapshot} if snapshot else {})}
        data = self._transport.json("POST", f"{self._path}/jobs", body=body, idempotency_key=idempotency_key)
        return Job.of(self._transport, data)

    def jobs(self, *, limit: int | None = None) -> Iterator[Job]:
        """Jobs of the domain, newest first."""
        pages = self._transport.pages(f"{self._path}/jobs", "jobs", limit=limit)
        return (Job.of(self._transport, item) for item in pages)

    def snapshots(self) -> Iterator[Snapshot]:
        """Snapshots of the domain's images, newest first."""
        return map(Snapshot.model_validate, self._transport.pages(f"{self._path}/snapshots", "snapshots"))

    def snapshot(self, id: str) -> Snapshot:
        """One snapshot."""
        return Snapshot.model_validate(self._transport.json("GET", f"{self._path}/snapshots/{id}"))

    def versions(self, *, limit: int | None = None) -> Iterator[Version]:
        """Versions of the domain, newest first."""
        pages = self._transport.pages(f"{self._path}/versions", "versions", limit=limit)
        return (Version.of(self._transport, item) for item in pages)

    def version(self, name: int | str) -> Version:
        """One version, by number or ``@alias``."""
        return Version.of(self._transport, self._transport.json("GET", f"{self._path}/versions/{name}"))

    def promote(self, version: int | str, *, reason: str = "", if_current: int | None = None) -> Alias:
        """Let a version serve; 0 is the source model. Raises GateRejected, Conflict."""
        return _promote(self._transport, self.name, str(version), reason, if_current)

    def rollback(self, *, reason: str = "") -> Alias:
        """Let the version that served before serve again. Raises Conflict."""
        body = {"reason": reason, "if_current": self.alias("champion").version}
        return Alias.model_validate(self._transport.json("POST", f"{self._path}:rollback", body=body))

    def route(self) -> Route:
        """What serves the domain, and what besides."""
        return Route.model_validate(self._transport.json("GET", f"{self._path}/route"))

    def share_out(
        self,
        *,
        canary: tuple[int, float] | None = None,
        shadow: tuple[int, float] | None = None,
        pinned: bool = False,
        reason: str = "",
    ) -> Route:
        """Give versions a part of the requests, each as (version, percent); what is left out is taken away.

        A canary answers its part; a shadow restores its part a second time and answers nobody.
        Raises GateRejected, Conflict.
        """

        def share(pair: tuple[int, float] | None) -> dict[str, Any] | None:
            return {"version": pair[0], "percent": pair[1]} if pair else None

        body = {"canary": share(canary), "shadow": share(shadow), "pinned": pinned, "reason": reason}
        return Route.model_validate(self._transport.json("PUT", f"{self._path}/route", body=body))

    def alias(self, name: str) -> Alias:
        """Where an alias points."""
        return Alias.model_validate(self._transport.json("GET", f"{self._path}/aliases/{name}"))

    def set_alias(self, name: str, version: int, *, if_current: int | None = None, reason: str = "") -> Alias:
        """Point an alias at a version, if it points at `if_current` now. Raises Conflict."""
        body = {"version": version, "if_current": if_current, "reason": reason}
        return Alias.model_validate(self._transport.json("PUT", f"{self._path}/aliases/{name}", body=body))

    def history(self, alias: str = "champion") -> Iterator[AliasChange]:
        """What served when, and who decided; newest first."""
        pages = self._transport.pages(f"{self._path}/aliases/{alias}/history", "changes")
        return map(AliasChange.model_validate, pages)

    def change(self, *, description: str | None = None, gate: dict[str, Any] | None = None) -> Domain:
        """Change the description or the gate rules."""
        body = {"description": description, "gate": gate}
        body = {name: value for name, value in body.items() if value is not None}
        return Domain.of(self._transport, self._transport.json("PATCH", self._path, body=body))

    def delete(self) -> None:
        """End the domain."""
        self._transport.json("DELETE", self._path)


def _promote(transport: Transport, domain: str, version: str, reason: str, if_current: int | None) -> Alias:
    body = {"reason": reason, "if_current": if_current}
    path = f"/v1/domains/{domain}/versions/{version}:promote"
    return Alias.model_validate(transport.json("POST", path, body=body))
