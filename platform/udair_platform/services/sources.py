"""Whether a domain's images can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from udair_jobs.storage import Role, StorageError, open_storage
from udair_platform.entities.domain import Domain
from udair_platform.errors import Invalid
from udair_platform.services.change import Change
from udair_platform.services.source_uri import check_folders
from udair_platform.services.uploads import MAX_UPLOAD_BYTES
from udair_platform.settings import Settings

READABLE, UNREADABLE = "domain.readable", "domain.unreadable"
_LISTED = 1000
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")


@dataclass(frozen=True)
class Step:
    """One thing that was tried: whether it went well, and what was seen."""

    name: str
    ok: bool
    detail: str


def endpoint_of(uri: str, settings: Settings) -> str | None:
    """S3 endpoint of a domain's images: the platform's own where they were uploaded."""
    uploaded = uri.startswith(f"{settings.store_uri.rstrip('/')}/")
    return settings.store_endpoint_url if uploaded else settings.s3_endpoint_url


def check(domain: Domain, settings: Settings) -> list[Step]:
    """Do what a job will do first: take the role, list, read an image; then the same with the references, if any."""
    try:
        check_folders([domain.source_uri, domain.reference_uri], settings.local_folders)
    except Invalid as error:
        return [Step("list", False, error.detail)]
    role = Role(domain.source_role_arn, domain.external_id) if domain.source_role_arn else None
    steps = _check(domain.source_uri, role, settings)
    if domain.reference_uri is not None:
        steps += [
            replace(step, name=f"references: {step.name}") for step in _check(domain.reference_uri, role, settings)
        ]
    return steps


def record(tx: Change, domain: Domain, steps: Sequence[Step]) -> None:
    """Keep what a check saw as an event, where it is something else than the last one saw."""
    failed = next((step for step in steps if not step.ok), None)
    kinds = [tx.state.events.latest(domain.tenant, domain.id, kind, size=1) for kind in (READABLE, UNREADABLE)]
    last = max((event for found in kinds for event in found), key=lambda event: event.seq, default=None)
    detail = failed.detail[:500] if failed else ""
    kind = UNREADABLE if failed else READABLE
    if last is None or (last.kind, last.data.get("detail", "")) != (kind, detail):
        tx.record(domain, kind, {"detail": detail} if detail else {})


def _check(uri: str, role: Role | None, settings: Settings) -> list[Step]:
    """What was tried at one place; ends at the first that fails."""
    steps: list[Step] = []
    try:
        source = open_storage(uri, endpoint_url=endpoint_of(uri, settings), role=role)
        keys = [item.key for item in islice(source.list(), _LISTED)]
        if role is not None:
            steps.append(Step("assume_role", True, role.arn))
        found = f"{len(keys)}{'+' if len(keys) == _LISTED else ''} objects"
        if not keys:
            return [*steps, Step("list", False, f"{uri} is empty; upload images there.")]
        steps.append(Step("list", True, found))
        data = source.get(keys[0], max_bytes=MAX_UPLOAD_BYTES)
    except StorageError as error:
        what = "read" if any(step.name == "list" for step in steps) else "list"
        return [*steps, Step(what, False, str(error))]
    known = data.startswith(_BEGINNINGS)
    seen = "an image" if known else "no image; jobs skip and count such objects"
    return [*steps, Step("read", True, f"{keys[0]}: {len(data)} bytes, {seen}")]
