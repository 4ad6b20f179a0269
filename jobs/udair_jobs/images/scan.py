"""A customer's prefix, looked at once: what is there, what is usable, and why the rest is not."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace

from udair.data.images import DecodeLimits
from udair.errors import ImageError
from udair.estimation.jpeg import luminance_table
from udair_jobs.errors import (
    AccessDenied,
    CredentialsExpired,
    InvalidKey,
    JobError,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.images.decoding import decode, limits_of
from udair_jobs.images.downloads import in_order
from udair_jobs.images.manifests import ManifestRow, ManifestRows
from udair_jobs.runtime.results import MAX_SKIPPED
from udair_jobs.specs import LimitsSpec, Skipped
from udair_jobs.storage import ObjectInfo, Storage

OnProgress = Callable[[float, dict[str, float]], None]

_DENIED = "access denied: "


def scan(source: Storage, limits: LimitsSpec, on_progress: OnProgress, workers: int) -> ManifestRows:
    """Look at every object of `source` once, in listing order.

    Args:
        source: The customer's prefix.
        limits: What one image may cost, and how many there may be.
        on_progress: Called with the share of objects done and counters, while listing too.
        workers: Objects downloaded at the same time.

    Returns:
        Rows without splits; duplicates are not yet marked.

    Raises:
        JobError: ACCESS_DENIED, DATA_EMPTY or DATA_UNREADABLE.
        StorageUnavailable: The store stopped answering.
        CredentialsExpired: It stopped accepting the credentials.
    """
    listed = _list(source, on_progress)
    if not listed:
        raise JobError(
            "DATA_EMPTY",
            f"{source.uri} holds no object; expected images below it. Check the prefix: it is read as a folder.",
        )
    within_limit = _limit(listed, limits.max_images)
    decode_limits = limits_of(limits)

    def look(row: ManifestRow) -> ManifestRow:
        if not row.usable:
            return row
        if within_limit(row.key):
            return _examine(source, row, decode_limits)
        return row.skip("OVER_LIMIT", f"the prefix has more than {limits.max_images} objects")

    def looked_at() -> Iterator[ManifestRow]:
        usable = 0
        for number, row in enumerate(in_order(look, listed, workers=workers), 1):
            usable += row.usable
            on_progress(number / len(listed), {"objects": number, "images": usable})
            yield row

    return _usable_or_raise(source, ManifestRows.of(looked_at()))


def skipped_of(rows: ManifestRows) -> list[Skipped]:
    """The first 1000 rows that were not used, as the result lists them."""
    return [Skipped(key=row.key, reason=row.reason, detail=row.detail) for row in rows.skipped()[:MAX_SKIPPED]]


def _list(source: Storage, on_progress: OnProgress) -> ManifestRows:
    def found() -> Iterator[ManifestRow]:
        for number, item in enumerate(source.list()):
            if number % 1000 == 0:  # a page of S3; a long listing must not look like a dead job
                on_progress(0.0, {"listed": number})
            if not item.key.endswith("/"):
                yield _listed(item)

    try:
        return ManifestRows.of(found())
    except NotFound as error:
        raise JobError("SOURCE_NOT_FOUND", f"cannot list the images: {error}") from error
    except AccessDenied as error:
        raise JobError("ACCESS_DENIED", f"cannot list the images: {error}") from error
    except InvalidKey as error:
        raise JobError("INVALID_SPEC", str(error)) from error


def _listed(item: ObjectInfo) -> ManifestRow:
    row = ManifestRow(_printable(item.key), item.etag, item.size, item.last_modified)
    return row if row.key == item.key else row.skip("UNREADABLE", "its name is no valid Unicode")


def _limit(listed: ManifestRows, limit: int) -> Callable[[str], bool]:
    """Whether a key is among the `limit` that may be looked at."""
    if len(listed) <= limit:
        return lambda key: True

    # By hash and not by name: names are often dates, and the first ones would be one day's weather.
    def rank(key: str) -> bytes:
        return hashlib.sha256(key.encode()).digest()

    last = heapq.nsmallest(limit, map(rank, listed.values("key")))[-1]
    return lambda key: rank(key) <= last


def _examine(source: Storage, row: ManifestRow, limits: DecodeLimits) -> ManifestRow:
    if row.size == 0:
        return row.skip("EMPTY_OBJECT", "has no bytes")
    if row.size > limits.max_bytes:
        return row.skip("TOO_MANY_BYTES", f"has {row.size} bytes; expected at most {limits.max_bytes}")
    try:
        data = source.get(row.key, if_match=row.etag, max_bytes=limits.max_bytes)
    except (PreconditionFailed, NotFound, TooLarge):
        return row.skip("CHANGED", "changed or vanished between listing and reading")
    except (StorageUnavailable, CredentialsExpired):
        raise  # not this object's fault: better no snapshot than one without half of the images
    except AccessDenied as error:
        return row.skip("UNREADABLE", f"{_DENIED}{error}")
    except StorageError as error:
        return row.skip("UNREADABLE", str(error))
    row = replace(row, sha256=hashlib.sha256(data).hexdigest(), jpeg_table=luminance_table(data))
    try:
        height, width = decode(data, limits).image.shape[:2]
    except ImageError as error:
        return row.skip(error.reason, str(error))
    return replace(row, width=width, height=height)


def _usable_or_raise(source: Storage, rows: ManifestRows) -> ManifestRows:
    if rows.usable():
        return rows
    counts = sorted(rows.counts("reason").items(), key=lambda item: -item[1])
    message = ", ".join(f"{count} {reason}" for reason, count in counts)
    example = f"first: {rows[0].key}: {rows[0].detail}"
    if all(detail.startswith(_DENIED) for detail in rows.values("detail")):
        raise JobError(
            "ACCESS_DENIED",
            f"{source.uri} can be listed, but none of its {len(rows)} objects can be read ({example}).",
            skipped_of(rows),
        )
    raise JobError(
        "DATA_UNREADABLE",
        f"none of the {len(rows)} objects below {source.uri} is a usable image: {message} ({example}).",
        skipped_of(rows),
    )


def _printable(text: str) -> str:
    """`text` as valid UTF-8: file names may hold any bytes, Parquet strings may not."""
    return text.encode("utf-8", "backslashreplace").decode()
