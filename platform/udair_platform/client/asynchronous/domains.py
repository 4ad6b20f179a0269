"""Domains: registered, adapted to, served, watched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from udair_platform.client.asynchronous.bound import AsyncBound
from udair_platform.client.asynchronous.jobs import AsyncJob
from udair_platform.client.asynchronous.restoring import restore
from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.asynchronous.versions import AsyncVersion
from udair_platform.client.names import checked
from udair_platform.client.pictures import Picture, Restored
from udair_platform.contract import domains as contract
from udair_platform.contract.aliases import Alias, AliasChange
from udair_platform.contract.domains import Route
from udair_platform.contract.snapshots import Snapshot
from udair_platform.contract.usage import Access, Drift, Upload, Usage


class AsyncDomain(AsyncBound, contract.Domain):
    """A domain."""

    @property
    def _path(self) -> str:
        return f"/v1/domains/{self.name}"

    async def refresh(self) -> AsyncDomain:
        """The domain as it is now."""
        return AsyncDomain.bind(self._transport, await self._transport.json("GET", self._path))

    async def change(
        self,
        *,
        description: str | None = None,
        gate: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
    ) -> AsyncDomain:
        """Change the description, the gate rules or the schedule; what is None stays as it is."""
        body = {"description": description, "gate": gate, "schedule": schedule}
        body = {name: value for name, value in body.items() if value is not None}
        return AsyncDomain.bind(self._transport, await self._transport.json("PATCH", self._path, body=body))

    async def delete(self) -> None:
        """End the domain."""
        await self._transport.json("DELETE", self._path)

    async def check_access(self) -> Access:
        """Try what a job will do first: take the role, list the images, read one."""
        return Access.model_validate(await self._transport.json("POST", f"{self._path}:checkAccess"))

    async def uploads(self, names: list[str]) -> list[Upload]:
        """Forms that upload images into the platform's own bucket, for a domain without a bucket of its own."""
        made = await self._transport.json("POST", f"{self._path}/uploads", body={"names": names})
        return [Upload.model_validate(item) for item in made["uploads"]]

    async def adapt(
        self,
        *,
        snapshot: str | None = None,
        priority: str = "NORMAL",
        idempotency_key: str | None = None,
        **recipe: Any,
    ) -> AsyncJob:
        """Queue an adaptation job; returns at once.

        Args:
            snapshot: A snapshot to use again, or ``latest``; None looks into the bucket.
            priority: ``LOW``, ``NORMAL`` or ``HIGH`` among the tenant's waiting jobs.
            idempotency_key: The same key makes the same job, for a day.
            recipe: Fields of the recipe, e.g. ``steps=200``.
        """
        body = {"recipe": recipe, "priority": priority, **({"snapshot": snapshot} if snapshot else {})}
        data = await self._transport.json("POST", f"{self._path}/jobs", body=body, idempotency_key=idempotency_key)
        return AsyncJob.bind(self._transport, data)

    async def jobs(self, *, limit: int | None = None) -> AsyncIterator[AsyncJob]:
        """Jobs of the domain, newest first."""
        async for item in self._transport.pages(f"{self._path}/jobs", "jobs", limit=limit):
            yield AsyncJob.bind(self._transport, item)

    async def snapshots(self, *, limit: int | None = None) -> AsyncIterator[Snapshot]:
        """Snapshots of the domain's images, newest first."""
        async for item in self._transport.pages(f"{self._path}/snapshots", "snapshots", limit=limit):
            yield Snapshot.model_validate(item)

    async def snapshot(self, id: str) -> Snapshot:
        """One snapshot."""
        return Snapshot.model_validate(await self._transport.json("GET", f"{self._path}/snapshots/{checked(id)}"))

    async def versions(self, *, limit: int | None = None) -> AsyncIterator[AsyncVersion]:
        """Versions of the domain, newest first."""
        async for item in self._transport.pages(f"{self._path}/versions", "versions", limit=limit):
            yield AsyncVersion.bind(self._transport, item)

    async def version(self, name: int | str) -> AsyncVersion:
        """One version, by number or ``@alias``."""
        data = await self._transport.json("GET", f"{self._path}/versions/{checked(str(name))}")
        return AsyncVersion.bind(self._transport, data)

    async def promote(self, version: int | str, *, reason: str = "", if_current: int | None = None) -> Alias:
        """Let a version serve; 0 is the source model. Raises GateRejected, Conflict."""
        path = f"{self._path}/versions/{checked(str(version))}:promote"
        body = {"reason": reason, "if_current": if_current}
        return Alias.model_validate(await self._transport.json("POST", path, body=body))

    async def rollback(self, *, reason: str = "") -> Alias:
        """Let the version that served before serve again. Raises Conflict."""
        body = {"reason": reason, "if_current": (await self.alias("champion")).version}
        return Alias.model_validate(await self._transport.json("POST", f"{self._path}:rollback", body=body))

    async def restore(self, image: Picture, *, timeout_s: float = 300.0, **options: Any) -> Restored:
        """Restore one image by what serves this domain now.

        Args:
            image: Encoded bytes, a path, a PIL image, or an array, (H, W, 3) uint8 or float in [0, 1].
            options: Of `RestoreOptions`: format, quality, key, test_time, content_type.

        Raises:
            InvalidRequest: The data plane cannot read the image, or refuses its size.
            PlatformUnavailable: The data plane cannot answer now.
        """
        return await restore(self._transport, self.name, image, timeout_s=timeout_s, **options)

    async def route(self) -> Route:
        """What serves the domain, and what besides."""
        return Route.model_validate(await self._transport.json("GET", f"{self._path}/route"))

    async def set_traffic(
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
        return Route.model_validate(await self._transport.json("PUT", f"{self._path}/route", body=body))

    async def alias(self, name: str) -> Alias:
        """Where an alias points."""
        return Alias.model_validate(await self._transport.json("GET", f"{self._path}/aliases/{checked(name)}"))

    async def set_alias(self, name: str, version: int, *, if_current: int | None = None, reason: str = "") -> Alias:
        """Point an alias at a version, if it points at `if_current` now. Raises Conflict."""
        body = {"version": version, "if_current": if_current, "reason": reason}
        path = f"{self._path}/aliases/{checked(name)}"
        return Alias.model_validate(await self._transport.json("PUT", path, body=body))

    async def history(self, alias: str = "champion") -> AsyncIterator[AliasChange]:
        """What served when, and who decided; newest first."""
        async for item in self._transport.pages(f"{self._path}/aliases/{checked(alias)}/history", "changes"):
            yield AliasChange.model_validate(item)

    async def drift(self) -> Drift:
        """How the images of the newest window differ from those that the adapter was made of."""
        return Drift.model_validate(await self._transport.json("GET", f"{self._path}/drift"))

    async def usage(self) -> Usage:
        """Images, pixels and model seconds since the replicas began."""
        return Usage.model_validate(await self._transport.json("GET", f"{self._path}/usage"))


class AsyncDomains:
    """Domains of the key's tenant."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        name: str,
        source_uri: str | None = None,
        *,
        gate: str | dict[str, Any] | None = None,
        description: str = "",
        role_arn: str | None = None,
        schedule: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncDomain:
        """Register a domain.

        Args:
            source_uri: ``s3://bucket/prefix`` of its unlabelled images; None if they are uploaded.
            gate: ``standard``, ``strict``, or the rules as a dictionary.
            role_arn: A role of yours that reads `source_uri`; it must trust the domain's `external_id`.
            schedule: ``cron`` (five fields, UTC), ``on_drift``, ``recipe``.
        """
        rules = {"policy": gate} if isinstance(gate, str) else gate or {}
        body = {"name": name, "source_uri": source_uri, "gate": rules, "description": description}
        body |= {"source_role_arn": role_arn} if role_arn else {}
        body |= {"schedule": schedule} if schedule else {}
        data = await self._transport.json("POST", "/v1/domains", body=body, idempotency_key=idempotency_key)
        return AsyncDomain.bind(self._transport, data)

    async def get(self, name: str) -> AsyncDomain:
        """One domain. Raises NotFound."""
        return AsyncDomain.bind(self._transport, await self._transport.json("GET", f"/v1/domains/{checked(name)}"))

    async def list(self, *, limit: int | None = None) -> AsyncIterator[AsyncDomain]:
        """Domains, oldest first."""
        async for item in self._transport.pages("/v1/domains", "domains", limit=limit):
            yield AsyncDomain.bind(self._transport, item)
