"""A customer's prefix, pinned: an immutable Parquet manifest of what was there and what is usable.

`manifest.parquet` is written once, under the condition that it is absent; `summary.json` follows, and
its presence is the commit. The summary is derived from whichever manifest won, so that an attempt
that was killed between the two, or raced another, ends with the same snapshot.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from udair.data.images import DecodeLimits, decode
from udair.errors import ImageError
from udair_jobs.downloads import in_order
from udair_jobs.errors import (
    AccessDenied,
    InvalidKey,
    JobError,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.manifests import ManifestHeader, ManifestRow, Split, digest_of, from_parquet, to_parquet
from udair_jobs.specs import LimitsSpec, Skipped, SnapshotSummary
from udair_jobs.storage import ObjectInfo, Storage

MANIFEST = "manifest.parquet"
SUMMARY = "summary.json"
REASONS = (
    "NOT_AN_IMAGE", "TRUNCATED", "TOO_MANY_BYTES", "TOO_MANY_PIXELS", "TOO_SMALL",
    "DUPLICATE", "CHANGED", "UNREADABLE", "EMPTY_OBJECT", "OVER_LIMIT",
)  # fmt: skip

_DENIED = "access denied: "


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot: its summary and every row of its manifest."""

    summary: SnapshotSummary
    rows: tuple[ManifestRow, ...]

    def split(self, name: Split) -> list[ManifestRow]:
        """The usable images of one split, in key order."""
        return [row for row in self.rows if row.usable and row.split == name]

    def skipped(self) -> list[Skipped]:
        """Everything that was not used, and why."""
        return skipped_of(self.rows)


def load_snapshot(target: Storage) -> Snapshot | None:
    """The snapshot at `target`, or None if none is committed there.

    Raises:
        JobError: CONTROLLER_ERROR when summary and manifest do not belong together.
    """
    try:
        summary = SnapshotSummary.model_validate_json(target.get(SUMMARY))
    except NotFound:
        return None
    except ValueError as error:
        raise JobError("CONTROLLER_ERROR", f"{target.uri}/{SUMMARY} is no summary: {error}") from error
    _, rows = from_parquet(target.get(MANIFEST), where=f"{target.uri}/{MANIFEST}")
    if digest_of(rows) != summary.digest:
        raise JobError(
            "CONTROLLER_ERROR",
            f"{target.uri}: the manifest does not match its summary's digest {summary.digest[:12]}; "
            "somebody altered it. Take a new snapshot.",
        )
    return Snapshot(summary, tuple(rows))


def take_snapshot(
    source: Storage,
    target: Storage,
    *,
    snapshot_id: str,
    limits: LimitsSpec | None = None,
    on_progress: Callable[[float, dict[str, float]], None] | None = None,
    workers: int = 4,
) -> Snapshot:
    """Look at every object of `source` once and commit what was seen to `target`.

    A snapshot that is there already is returned as it is. One bad object is counted and listed,
    never fatal.

    Args:
        source: The customer's prefix.
        target: Folder of this snapshot.
        snapshot_id: Its name in the summary.
        limits: What one image may cost.
        on_progress: Called with the share of objects done and counters.
        workers: Objects downloaded and decoded at the same time.

    Raises:
        JobError: ACCESS_DENIED, DATA_EMPTY or DATA_UNREADABLE; then nothing is committed.
        StorageUnavailable: A store stopped answering; nothing is committed and a retry is safe.
    """
    limits = limits or LimitsSpec()
    existing = load_snapshot(target)
    if existing is not None:
        return existing
    if not target.exists(MANIFEST):
        started = time.monotonic()
        rows = _scan(source, limits, on_progress or (lambda share, counters: None), workers)
        header = ManifestHeader(snapshot_id, source.uri, round(time.monotonic() - started, 3))
        with suppress(PreconditionFailed):  # another attempt was faster: its manifest is the snapshot
            target.put(MANIFEST, to_parquet(header, rows), if_absent=True)
    return _commit(target)


def assign_splits(hashes: Sequence[str], gate_share: float) -> dict[str, Split]:
    """Which half each content hash belongs to: decided by the hashes alone, whatever their order.

    The share is kept to the nearest image. With two or more hashes each half has at least one.
    """
    ranked = sorted(set(hashes), key=lambda digest: hashlib.sha256(f"split:{digest}".encode()).digest())
    # A single image goes to adapt: without it there would be nothing to judge either.
    gate = min(max(round(len(ranked) * gate_share), 1), len(ranked) - 1) if len(ranked) >= 2 else 0
    return {digest: "gate" if rank < gate else "adapt" for rank, digest in enumerate(ranked)}


def skipped_of(rows: Sequence[ManifestRow]) -> list[Skipped]:
    """The rows that were not used, as the result lists them."""
    return [Skipped(key=row.key, reason=row.reason, detail=row.detail) for row in rows if not row.usable]


def _scan(
    source: Storage, limits: LimitsSpec, on_progress: Callable[[float, dict[str, float]], None], workers: int
) -> list[ManifestRow]:
    found = _list(source)
    if not found:
        raise JobError(
            "DATA_EMPTY",
            f"{source.uri} holds no object; expected images below it. Check the prefix: it is read as a folder.",
        )
    chosen = _within_limit(found, limits.max_images)
    decode_limits = DecodeLimits(max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels)
    rows: list[ManifestRow] = []
    usable = 0

    def look(item: ObjectInfo) -> ManifestRow:
        if item.key in chosen:
            return _examine(source, item, decode_limits)
        return _skip(_row(item), "OVER_LIMIT", f"the prefix has more than {limits.max_images} objects")

    for row in in_order(look, found, workers=workers):
        rows.append(row)
        usable += row.usable
        on_progress(len(rows) / len(found), {"objects": len(rows), "images": usable})
    return _usable_or_raise(source, _split(_without_duplicates(rows), limits.gate_share))


def _list(source: Storage) -> list[ObjectInfo]:
    try:
        return [item for item in source.list() if not item.key.endswith("/")]
    except (NotFound, AccessDenied) as error:
        raise JobError("ACCESS_DENIED", f"cannot list the images: {error}") from error
    except InvalidKey as error:
        raise JobError("INVALID_SPEC", str(error)) from error


def _within_limit(found: Sequence[ObjectInfo], limit: int) -> set[str]:
    if len(found) <= limit:
        return {item.key for item in found}
    # By hash and not by name: names are often dates, and the first ones would be one day's weather.
    ranked = sorted((item.key for item in found), key=lambda key: hashlib.sha256(_printable(key).encode()).digest())
    return set(ranked[:limit])


def _examine(source: Storage, item: ObjectInfo, limits: DecodeLimits) -> ManifestRow:
    row = _row(item)
    if item.size == 0:
        return _skip(row, "EMPTY_OBJECT", "has no bytes")
    if item.size > limits.max_bytes:
        return _skip(row, "TOO_MANY_BYTES", f"has {item.size} bytes; expected at most {limits.max_bytes}")
    try:
        data = source.get(item.key, if_match=item.etag, max_bytes=limits.max_bytes)
    except (PreconditionFailed, NotFound, TooLarge):
        return _skip(row, "CHANGED", "changed or vanished between listing and reading")
    except StorageUnavailable:
        raise  # not this object's fault: better no snapshot than one without half of the images
    except AccessDenied as error:
        return _skip(row, "UNREADABLE", f"{_DENIED}{error}")
    except StorageError as error:
        return _skip(row, "UNREADABLE", str(error))
    row = replace(row, sha256=hashlib.sha256(data).hexdigest())
    try:
        height, width = decode(data, limits).shape[:2]
    except ImageError as error:
        return _skip(row, error.reason, str(error))
    return replace(row, width=width, height=height)


def _without_duplicates(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    first: dict[str, str] = {}
    kept: list[ManifestRow] = []
    for row in rows:
        if row.usable and first.setdefault(row.sha256, row.key) != row.key:
            row = _skip(row, "DUPLICATE", f"has the same content as {first[row.sha256]}")
        kept.append(row)
    return kept


def _split(rows: Sequence[ManifestRow], gate_share: float) -> list[ManifestRow]:
    splits = assign_splits([row.sha256 for row in rows if row.usable], gate_share)
    return [replace(row, split=splits[row.sha256]) if row.usable else row for row in rows]


def _usable_or_raise(source: Storage, rows: list[ManifestRow]) -> list[ManifestRow]:
    if any(row.usable for row in rows):
        return rows
    counts = Counter(row.reason for row in rows)
    said = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    example = f"first: {rows[0].key}: {rows[0].detail}"
    if all(row.detail.startswith(_DENIED) for row in rows):
        raise JobError(
            "ACCESS_DENIED",
            f"{source.uri} can be listed, but none of its {len(rows)} objects can be read ({example}).",
            skipped_of(rows),
        )
    raise JobError(
        "DATA_UNREADABLE",
        f"none of the {len(rows)} objects below {source.uri} is a usable image: {said} ({example}).",
        skipped_of(rows),
    )


def _commit(target: Storage) -> Snapshot:
    header, rows = from_parquet(target.get(MANIFEST), where=f"{target.uri}/{MANIFEST}")
    usable = [row for row in rows if row.usable]
    reasons = Counter(row.reason for row in rows if not row.usable)
    summary = SnapshotSummary(
        snapshot_id=header.snapshot_id,
        source_uri=header.source_uri,
        digest=digest_of(rows),
        objects=len(rows),
        images=len(usable),
        adapt_images=sum(row.split == "adapt" for row in usable),
        gate_images=sum(row.split == "gate" for row in usable),
        skipped=len(rows) - len(usable),
        skipped_by_reason=dict(sorted(reasons.items())),
        total_bytes=sum(row.size for row in usable),
        seconds=header.seconds,
    )
    with suppress(PreconditionFailed):  # derived from the same manifest, so it says the same
        target.put(SUMMARY, summary.model_dump_json(indent=2).encode(), if_absent=True)
    return Snapshot(summary, tuple(rows))


def _row(item: ObjectInfo) -> ManifestRow:
    return ManifestRow(_printable(item.key), item.etag, item.size, item.last_modified)


def _skip(row: ManifestRow, reason: str, detail: str) -> ManifestRow:
    return replace(row, status="SKIPPED", reason=reason, detail=_printable(detail)[:300])


def _printable(text: str) -> str:
    """`text` as valid UTF-8: file names may hold any bytes, Parquet strings may not."""
    return text.encode("utf-8", "backslashreplace").decode()
