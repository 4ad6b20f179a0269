"""Domains: registered, adapted to, served, watched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from os import PathLike
from typing import Any

from udair_platform.client.asynchronous.bound import AsyncBound
from udair_platform.client.asynchronous.jobs import AsyncJob
from udair_platform.client.asynchronous.restoring import restore
from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.asynchronous.versions import AsyncVersion
from udair_platform.client.local_images import LocalImage, Uploaded, local_images
from udair_platform.client.names import checked
from udair_platform.client.pictures import Picture, Restored
from udair_platform.client.signed_history import SignedHistory
from udair_platform.client.waiting import async_concurrently
from udair_platform.contract import domains as contract
from udair_platform.contract.aliases import Alias, AliasChange
from udair_platform.contract.domains import Route
from udair_platform.contract.snapshots import Snapshot
from udair_platform.contract.usage import Access, DomainMetrics, Drift, Upload, Usage

FORMS_AT_ONCE, UPLOADS_AT_ONCE = 200, 8


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
        tone: str | None = None,
        tone_aim: float | None = None,
        reference_uri: str | None = None,
        gate: dict[str, Any] | None = None,
        schedule: dict[str, Any] | None = None,
    ) -> AsyncDomain:
        """Change the description, the intent, the gate rules or the schedule; what is None stays as it is.

        Another intent (`tone`, `tone_aim`, `reference_uri`) puts the versions that were made for the one before out
        of use: adapt again. A `tone_aim` of 0 and a `reference_uri` of ``""`` take them away.
        """
        body: dict[str, Any] = {"description": description, "tone": tone, "gate": gate, "schedule": schedule}
        intent = {"tone_aim": tone_aim, "reference_uri": reference_uri}
        body = {name: value for name, value in body.items() if value is not None}
        body |= {name: value or None for name, value in intent.items() if value is not None}
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

    async def upload(
        self, folder: str | PathLike[str], *, on_progress: Callable[[int, int], None] = lambda done, of: None
    ) -> Uploaded:
        """Upload the images of a folder of this machine; one that is there already is replaced.

        Sub-folders and unusual characters become part of a plain name. What is no image by its name, or larger than
        the platform takes, is left out and listed.

        Args:
            folder: On this machine.
            on_progress: Called with how many were sent, and how many there are.

        Raises:
            ClientError: It is no folder, or holds no image.
            InvalidState: The domain's images are in a place of its owner's.
        """
        found, left_out = local_images(folder)
        done = Uploaded(left_out=left_out)

        async def send(pair: tuple[LocalImage, Upload]) -> tuple[LocalImage, int | str]:
            image, form = pair
            size = image.path.stat().st_size
            if not 0 < size <= form.max_bytes:
                return image, f"it has {size} bytes; expected 1 to {form.max_bytes}"
            await self._transport.upload(form, image.path.read_bytes())
            return image, size

        for start in range(0, len(found), FORMS_AT_ONCE):
            part = found[start : start + FORMS_AT_ONCE]
            forms = await self.uploads([image.name for image in part])
            async for image, sent in async_concurrently(send, zip(part, forms, strict=True), UPLOADS_AT_ONCE):
                if isinstance(sent, str):
                    done.left_out.append((image.path, sent))
                else:
                    done.images += 1
                    done.bytes += sent
                on_progress(done.images, len(found))
        return done

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
            options: Of `RestoreOptions`: format, quality, key, test_time, tone, priority, content_type.

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
        min_ready: int = 0,
        canary_auto_rollback: bool = False,
        reason: str = "",
    ) -> Route:
        """Give versions a part of the requests, each as (version, percent); what is left out is taken away.

        A canary answers its part; a shadow restores its part a second time and answers nobody. `min_ready` replicas
        have the adapters before they are asked for them, with `pinned` all of them. With `canary_auto_rollback` a
        canary that surely restores worse than the champion is taken away by itself.
        Raises GateRejected, Conflict.
        """

        def share(pair: tuple[int, float] | None) -> dict[str, Any] | None:
            return {"version": pair[0], "percent": pair[1]} if pair else None

        body = {
            "canary": share(canary),
            "shadow": share(shadow),
            "pinned": pinned,
            "min_ready": min_ready,
            "canary_auto_rollback": canary_auto_rollback,
            "reason": reason,
        }
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

    async def served_history(
        self, *, since: str | None = None, until: str | None = None, format: str = "json"
    ) -> SignedHistory:
        """What served when, why, and approved by whom, as the platform signs it.

        Args:
            since, until: A date, or a time as ``2026-03-01T12:00:00Z``; a date as the end counts whole.
            format: ``json`` or ``csv``.

        Raises:
            InvalidRequest: One of them is no time, or the end is not after the beginning.
        """
        params = {key: value for key, value in (("from", since), ("to", until), ("format", format)) if value}
        answer = await self._transport.send("GET", f"{self._transport.url}{self._path}/servedHistory", params=params)
        return SignedHistory(answer.content, answer.headers.get("X-Signature", ""))

    async def drift(self) -> Drift:
        """How the images of the newest window differ from those that the adapter was made of."""
        return Drift.model_validate(await self._transport.json("GET", f"{self._path}/drift"))

    async def metrics(self, period: str = "day") -> DomainMetrics:
        """What was restored over the last ``hour``, ``day``, ``week`` or ``month``, and how long it took.

        Raises:
            InvalidRequest: The period is none of these.
        """
        data = await self._transport.json("GET", f"{self._path}/metrics", params={"period": period})
        return DomainMetrics.model_validate(data)

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
        tone: str = "keep",
        tone_aim: float | None = None,
        reference_uri: str | None = None,
        gate: str | dict[str, Any] | None = None,
        description: str = "",
        role_arn: str | None = None,
        schedule: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncDomain:
        """Register a domain.

        Args:
            source_uri: ``s3://bucket/prefix`` of its unlabelled images; None if they are uploaded.
            tone: ``keep`` leaves exposure, colour and haze as they are; ``restore`` corrects them, too.
            tone_aim: Mean brightness of restored pictures that you want, 0.05 to 0.95; with ``restore`` only.
            reference_uri: ``s3://bucket/prefix`` of good pictures of the same place or kind, in no order.
            gate: ``standard``, ``strict``, or the rules as a dictionary.
            role_arn: A role of yours that reads `source_uri`; it must trust the domain's `external_id`.
            schedule: ``cron`` (five fields, UTC), ``on_drift``, ``recipe``.
        """
        rules = {"policy": gate} if isinstance(gate, str) else gate or {}
        body: dict[str, Any] = {
            "name": name,
            "source_uri": source_uri,
            "tone": tone,
            "gate": rules,
            "description": description,
        }
        body |= {"tone_aim": tone_aim} if tone_aim is not None else {}
        body |= {"reference_uri": reference_uri} if reference_uri else {}
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
