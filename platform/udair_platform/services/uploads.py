"""Images that are uploaded by those who have no bucket: a form each, to the store, or to the platform itself.

A store that is a folder takes no forms. There the form leads to the control API, with a ticket for one name and 15 minutes;
who holds it needs no key, as with a form of S3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta

from udair_jobs.storage import Storage, StorageError, UploadForm
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.errors import BadRequest, FieldError, Forbidden, Invalid, InvalidState, StoreDown
from udair_platform.signing import Purpose
from udair_platform.tickets import Forged, Over, Tickets

MAX_UPLOAD_BYTES = 64 * 2**20
GOOD_FOR = timedelta(minutes=15)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def source_of_uploads(store: Storage, tenant: str, name: str) -> str:
    """Where the images of a domain are that has no bucket of its own."""
    return f"{store.uri}/{store_paths.images(tenant, name)}"


def upload_forms(
    store: Storage,
    domain: Domain,
    names: Sequence[str],
    *,
    tickets: Tickets,
    at: Callable[[str], str],
) -> list[UploadForm]:
    """Forms that upload images of `names` into the domain, each for one name, a size and 15 minutes.

    Args:
        at: The URL where the platform itself receives what a ticket is for.

    Raises:
        InvalidState: The domain's images are in a place of its owner's.
        Invalid: A name is not acceptable; points at it.
        StoreDown: The store does not answer.
    """
    if domain.source_uri != source_of_uploads(store, domain.tenant, domain.name):
        raise InvalidState(f"The images of {domain.name!r} are at {domain.source_uri}; put them there.")
    for place, name in enumerate(names):
        if not _NAME.fullmatch(name):
            detail = f"name {name[:80]!r} is not acceptable; expected up to 200 of A-Z, a-z, 0-9, '.', '_' and '-'."
            raise Invalid(detail, errors=[FieldError(f"/names/{place}", detail)])
    folder = store_paths.images(domain.tenant, domain.name)
    if not store.uri.startswith("s3://"):
        given = [tickets.give(Purpose.UPLOAD, [f"{folder}/{name}"], GOOD_FOR) for name in names]
        return [
            UploadForm(name, at(ticket), {}, until, MAX_UPLOAD_BYTES)
            for name, (ticket, until) in zip(names, given, strict=True)
        ]
    try:
        return [store.at(folder).presign_post(name, max_bytes=MAX_UPLOAD_BYTES) for name in names]
    except StorageError as error:
        raise StoreDown(f"Nothing can be uploaded now: {error}") from error


def key_of(ticket: str, tickets: Tickets) -> str:
    """Where in the store the image goes that a ticket is for.

    Raises:
        Forbidden: It is none of ours, or its time is over.
    """
    another = "ask for {} with POST /v1/domains/NAME/uploads."
    try:
        (key,), _ = tickets.open(Purpose.UPLOAD, ticket)
    except Forged:
        raise Forbidden(f"This is no ticket for an upload; {another.format('one')}") from None
    except Over as over:
        raise Forbidden(f"The ticket was {over}; {another.format('another one')}") from None
    return str(key)


def receive(store: Storage, key: str, data: bytes) -> None:
    """Keep an uploaded image.

    Raises:
        BadRequest: It is empty.
        StoreDown: The store does not take it.
    """
    if not data:
        raise BadRequest("The uploaded file is empty; expected an image.")
    try:
        store.put(key, data)
    except StorageError as error:
        raise StoreDown(f"The image could not be kept: {error}") from error
