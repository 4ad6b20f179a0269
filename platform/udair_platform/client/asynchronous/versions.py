"""Adapter versions: looked at, decided on, served."""

from __future__ import annotations

import hashlib
from pathlib import Path

from udair_platform.client.asynchronous.bound import AsyncBound
from udair_platform.client.errors import ClientError
from udair_platform.client.gallery import INDEX, Gallery, GalleryItem
from udair_platform.client.names import file_name
from udair_platform.contract import versions as contract
from udair_platform.contract.aliases import Alias
from udair_platform.contract.domains import Route
from udair_platform.contract.versions import File, GateReport, Lineage

MANIFEST = "MANIFEST.json"


class AsyncVersion(AsyncBound, contract.Version):
    """An adapter version."""

    @property
    def _path(self) -> str:
        return f"/v1/domains/{self.domain}/versions/{self.number}"

    async def report(self) -> GateReport:
        """The gate's report and the evidence that it judged."""
        return GateReport.model_validate(await self._transport.json("GET", f"{self._path}/gate"))

    async def lineage(self) -> Lineage:
        """From the images through job, recipe, code and base model to when it served."""
        return Lineage.model_validate(await self._transport.json("GET", f"{self._path}/lineage"))

    async def files(self) -> list[File]:
        """The adapter, its evidence and what else its job published."""
        listed = await self._transport.json("GET", f"{self._path}/files")
        return [File.model_validate(item) for item in listed["files"]]

    async def file(self, name: str) -> bytes:
        """One file. Raises NotFound."""
        return await self._transport.content(f"{self._path}/files/{file_name(name)}")

    async def download(self, folder: str | Path) -> list[File]:
        """Write every file and its manifest below `folder`; what is not as its job published it is refused.

        Raises:
            ClientError: A file's digest is another.
            OSError: A file cannot be written.
        """
        target, files = Path(folder), await self.files()
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            data = await self.file(file.name)
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise ClientError(f"{file.name} of {self.domain}@{self.number} is not what its job published.")
            (target / file.name).write_bytes(data)
        # Last: readers accept nothing without it.
        (target / MANIFEST).write_bytes(await self.file(MANIFEST))
        return files

    async def gallery(self, *, limit: int | None = None) -> Gallery:
        """Pictures before and after, the worst first. Raises NotFound if the job published none.

        Args:
            limit: Of how many images.
        """
        index = GalleryItem.of_index(await self.file(INDEX))[:limit]
        pictures = {name: await self.file(name) for item in index for name in item.files.values()}
        return Gallery(f"{self.domain}@{self.number}", index, pictures, self.words)

    async def promote(
        self, *, reason: str = "", if_current: int | None = None, canary: float | None = None
    ) -> Alias | Route:
        """Let this version serve; with `canary`, answer only that percentage of the requests.

        Raises:
            GateRejected: The gate does not let it.
            Conflict: The version is in no such state, or another than `if_current` serves.
        """
        if canary is not None:
            # A route is set as a whole: what else it says stays.
            path = f"/v1/domains/{self.domain}/route"
            now = await self._transport.json("GET", path)
            share = {"canary": {"version": self.number, "percent": canary}, "reason": reason}
            kept = {
                name: now[name] for name in ("shadow", "pinned", "min_ready", "canary_auto_rollback") if name in now
            }
            return Route.model_validate(await self._transport.json("PUT", path, body=share | kept))
        body = {"reason": reason, "if_current": if_current}
        return Alias.model_validate(await self._transport.json("POST", f"{self._path}:promote", body=body))

    async def approve(self, *, reason: str = "") -> AsyncVersion:
        """Let this version be promoted although the gate could not judge it. Raises Conflict, Forbidden."""
        return await self._decide("approve", reason)

    async def reject(self, *, reason: str = "") -> AsyncVersion:
        """Refuse this version, which waits for a person, for good. Raises Conflict."""
        return await self._decide("reject", reason)

    async def archive(self, *, reason: str = "") -> AsyncVersion:
        """Put this version away; nothing may point at it. Raises Conflict."""
        return await self._decide("archive", reason)

    async def _decide(self, verb: str, reason: str) -> AsyncVersion:
        data = await self._transport.json("POST", f"{self._path}:{verb}", body={"reason": reason})
        return AsyncVersion.bind(self._transport, data)
