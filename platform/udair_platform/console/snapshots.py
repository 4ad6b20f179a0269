"""Snapshots of a domain: which images there were, what they look like to the model, and some of them."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from udair_jobs.errors import JobError
from udair_jobs.images.manifests import ManifestRow, from_parquet
from udair_jobs.storage import Storage, StorageError, open_storage
from udair_platform.api.context import Context, Ctx
from udair_platform.api.routes.versions import described
from udair_platform.console import charts, pictures
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.contract import snapshots as values
from udair_platform.documents import store_paths
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import PlatformError
from udair_platform.services import observed, versions
from udair_platform.services.observed import ReplicaReports

router = APIRouter()
_ROWS = 50
_THUMBS = 24
_SKIPPED = 100
_MANIFEST, _MAX_MANIFEST_BYTES = "manifest.parquet", 64 * 2**20


@router.get("/domains/{name}/snapshots")
def list_snapshots(
    request: Request,
    name: str,
    context: Ctx,
    visitor: Reader,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
) -> HTMLResponse:
    """Every snapshot, newest first."""
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        found = state.snapshots.page(who.tenant, domain.id, after=after, size=_ROWS + 1)
    more = found[_ROWS - 1].seq if len(found) > _ROWS else None
    return page(
        request,
        "snapshots.html",
        visitor,
        domain=domain.name,
        source_uri=domain.source_uri,
        snapshots=[values.Snapshot.describe(snapshot) for snapshot in found[:_ROWS]],
        more=more,
        after=after,
    )


@router.get("/domains/{name}/snapshots/{id}")
def show_snapshot(request: Request, name: str, id: str, context: Ctx, visitor: Reader) -> HTMLResponse:
    """One snapshot. What its images look like is known from the first version that was made of it."""
    who = visitor.principal
    with context.database.read() as state:
        domain = who.domain(state, name)
        snapshot = state.snapshots.get(who.tenant, id, domain_id=domain.id)
        recent = state.versions.page(who.tenant, domain.id, size=500)
        made = [version for version in recent if version.snapshot_id == snapshot.id]
        views = described(state, domain, made, state.aliases.all(who.tenant, domain.id))
    version = made[-1] if made else None
    try:
        seen = ReplicaReports(context.store, context.clock()).of_domain(domain)
    except PlatformError:
        seen = observed.ReplicaObservations()
    profile = _profile(context.store, version) if version else None
    skipped, whole = _skipped(context, snapshot)
    return page(
        request,
        "snapshot.html",
        visitor,
        domain=domain.name,
        snapshot=values.Snapshot.describe(snapshot),
        made=views,
        version=views[-1] if views else None,
        skipped=skipped,
        whole=whole,
        profile=profile,
        images=pictures.index(context, version)[:_THUMBS] if version else [],
        codes=charts.codes(profile, seen.drift[0] if seen.drift else None),
    )


def _profile(store: Storage, version: AdapterVersion) -> dict[str, Any] | None:
    try:
        document = json.loads(versions.folder_of(store, version).get(store_paths.PROFILE, max_bytes=16 * 2**20))
        shares, classes = document["code_shares"], document["class_shares"]
        return {
            "images": int(document["images"]),
            "code_shares": [float(share) for share in shares],
            "class_shares": {str(name): float(share) for name, share in classes.items()},
        }
    except (StorageError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _skipped(context: Context, snapshot: Snapshot) -> tuple[list[ManifestRow], bool]:
    """The first objects that were not used, and whether the manifest could be read."""
    if snapshot.state is not SnapshotState.ACTIVE or not (snapshot.summary or {}).get("skipped"):
        return [], True
    inside = snapshot.uri.removeprefix(f"{context.store.uri}/")
    try:
        folder = context.store.at(inside) if inside != snapshot.uri else open_storage(snapshot.uri)
        data = folder.get(_MANIFEST, max_bytes=_MAX_MANIFEST_BYTES)
        return list(from_parquet(data, where=_MANIFEST)[1].skipped()[:_SKIPPED]), True
    except (StorageError, JobError):
        return [], False
