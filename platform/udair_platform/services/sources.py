"""Where a domain's images come from: whether they can be read, and uploads by those who have no bucket."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from udair_jobs.storage import Role, Storage, StorageError, UploadForm, open_storage
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.errors import FieldError, Invalid, InvalidState, StoreDown
from udair_platform.settings import Settings

MAX_UPLOAD_BYTES = 64 * 2**20
_LISTED = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\x00", b"MM\x00*", b"BM")


@dataclass(frozen=True)
class Step:
    """One thing that was tried: whether it went well, and what was seen."""

    name: str
    ok: bool
    detail: str


def endpoint_of(domain: Domain, settings: Settings) -> str | None:
    """S3 endpoint of the domain's images: the platform's own where they were uploaded."""
    uploaded = domain.source_uri.startswith(f"{settings.store_uri.rstrip('/')}/")
    return settings.store_endpoint_url if uploaded else settings.s3_endpoint_url


def check(domain: Domain, settings: Settings) -> list[Step]:
    """Do what a job will do first: take the role, list, read an image. Ends at the first that fails."""
    role = Role(domain.source_role_arn, domain.external_id) if domain.source_role_arn else None
    steps: list[Step] = []
    try:
        source = open_storage(domain.source_uri, endpoint_url=endpoint_of(domain, settings), role=role)
        keys = [item.key for item in islice(source.list(), _LISTED)]
        if role is not None:
            steps.append(Step("assume_role", True, role.arn))
        found = f"{len(keys)}{'+' if len(keys) == _LISTED else ''} objects"
        if not keys:
            return [*steps, Step("list", False, f"{domain.source_uri} is empty; upload images there.")]
        steps.append(Step("list", True, found))
        data = source.get(keys[0], max_bytes=MAX_UPLOAD_BYTES)
    except StorageError as error:
        what = "read" if any(step.name == "list" for step in steps) else "list"
        return [*steps, Step(what, False, str(error))]
    known = data.startswith(_BEGINNINGS)
    seen = "an image" if known else "no image; jobs skip and count such objects"
    return [*steps, Step("read", True, f"{keys[0]}: {len(data)} bytes, {seen}")]


def uploads(store: Storage, domain: Domain, names: Sequence[str]) -> list[UploadForm]:
    """Forms that upload images of `names` into the domain, each for one name, a size and 15 minutes.

    Raises:
        InvalidState: The domain's images are in a bucket of its owner's.
        Invalid: A name is not acceptable; points at it.
        StoreDown: The store does not answer.
    """
    if domain.source_uri != f"{store.uri}/{store_paths.images(domain.tenant, domain.name)}":
        raise InvalidState(f"The images of {domain.name!r} are at {domain.source_uri}; put them there.")
    for place, name in enumerate(names):
        if not _NAME.fullmatch(name):
            detail = f"name {name[:80]!r} is not acceptable; expected up to 200 of A-Z, a-z, 0-9, '.', '_' and '-'."
            raise Invalid(detail, errors=[FieldError(f"/names/{place}", detail)])
    folder = store.at(store_paths.images(domain.tenant, domain.name))
    try:
        return [folder.presign_post(name, max_bytes=MAX_UPLOAD_BYTES) for name in names]
    except StorageError as error:
        raise StoreDown(f"Nothing can be uploaded now: {error}") from error
