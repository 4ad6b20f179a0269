"""Where a version comes from, and its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator

from fastapi import APIRouter, Response

from udair_jobs.published.candidates import MANIFEST
from udair_jobs.specs import Manifest
from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import DomainReader, Principal
from udair_platform.contract.aliases import AliasChange
from udair_platform.contract.versions import File, Files, Lineage
from udair_platform.entities.alias import CHAMPION
from udair_platform.errors import NotFound, StoreDown
from udair_platform.services import versions

router = APIRouter(prefix="/v1/domains/{domain}/versions/{version}", tags=["versions"])
_MOVES = 1000
_MAX_FILE_BYTES = 64 * 2**20


@router.get("/lineage")
def get_lineage(domain: str, version: str, context: Ctx, who: DomainReader) -> Lineage:
    """From the images through job, recipe, code and base model to when it served."""
    with context.database.read() as state:
        found = who.domain(state, domain)
        one = state.versions.get(who.tenant, found.id, versions.resolve(state, found, version))
        job = state.jobs.get(who.tenant, one.job_id)
        attempts = state.attempts.of_job(who.tenant, one.job_id)
        snapshot = state.snapshots.get(who.tenant, one.snapshot_id)
        moves = state.aliases.history(who.tenant, found.id, CHAMPION, size=_MOVES)
    canonical = json.dumps(dict(job.recipe), sort_keys=True, separators=(",", ":")).encode()
    served = [move for move in moves if one.number in (move.to_version, move.from_version)]
    return Lineage.describe(
        one,
        version=one.number,
        attempts=len(attempts),
        cause_actor=job.actor,
        recipe=dict(job.recipe),
        config_digest=hashlib.sha256(canonical).hexdigest(),
        snapshot_digest=snapshot.digest,
        snapshot_uri=snapshot.uri,
        images=(snapshot.summary or {}).get("images"),
        served=[AliasChange.describe(move) for move in served],
    )


@router.get("/files")
def list_files(domain: str, version: str, context: Ctx, who: DomainReader) -> Files:
    """The adapter, its evidence and what else its job published."""
    number, folder = _folder(context, who, domain, version)
    files = _manifest(folder, number).files
    signed = folder.uri.startswith("s3://")
    with _asking(number):
        return Files(
            files=[
                File(
                    name=name,
                    sha256=record.sha256,
                    size_bytes=record.bytes,
                    url=folder.presign_get(name) if signed else None,
                )
                for name, record in files.items()
            ]
        )


@router.get("/files/{name}", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
def get_file(domain: str, version: str, name: str, context: Ctx, who: DomainReader) -> Response:
    """One file, or `MANIFEST.json`, for clients that do not reach the store."""
    number, folder = _folder(context, who, domain, version)
    if name != MANIFEST and name not in _manifest(folder, number).files:
        raise NotFound(f"Version {number} of {domain!r} has no file {name[:80]!r}.")
    with _asking(number):
        return Response(folder.get(name, max_bytes=_MAX_FILE_BYTES), media_type="application/octet-stream")


def _folder(context: Context, who: Principal, domain: str, version: str) -> tuple[int, Storage]:
    with context.database.read() as state:
        found = who.domain(state, domain)
        one = state.versions.get(who.tenant, found.id, versions.resolve(state, found, version))
    return one.number, versions.folder_of(context.store, one)


def _manifest(folder: Storage, number: int) -> Manifest:
    with _asking(number):
        data = folder.get(MANIFEST, max_bytes=2**20)
    try:
        return Manifest.model_validate_json(data)
    except ValueError as error:
        raise NotFound(f"The manifest of version {number} cannot be read. `udair admin fsck` tells more.") from error


@contextlib.contextmanager
def _asking(number: int) -> Iterator[None]:
    try:
        yield
    except NoObject as error:
        raise NotFound(f"A file of version {number} is gone from the store: {error}") from error
    except StorageError as error:
        raise StoreDown(f"The files of version {number} cannot be read now: {error}") from error
