"""A customer's prefix, pinned: an immutable Parquet manifest of what was there and what is usable.

`manifest.parquet` is written once, under the condition that it is absent; `summary.json` follows, and
its presence is the commit. The summary is derived from whichever manifest won, so that an attempt
that was killed between the two, or raced another, ends with the same snapshot.

Memory: the prefix is listed into Arrow columns, examined a few objects at a time, and written row group
by row group; about a kilobyte an object at the peak, whatever the images' sizes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from udair.data.images import REASONS as IMAGE_REASONS
from udair_jobs.errors import JobError, NotFound, PreconditionFailed
from udair_jobs.images.downloads import WORKERS
from udair_jobs.images.manifests import ManifestHeader, ManifestRow, ManifestRows, Split, from_parquet, to_parquet
from udair_jobs.images.scan import OnProgress, scan, skipped_of
from udair_jobs.specs import LimitsSpec, Skipped, SnapshotSummary
from udair_jobs.storage import Storage

MANIFEST = "manifest.parquet"
SUMMARY = "summary.json"
REASONS = (
    *IMAGE_REASONS,
    "DUPLICATE",
    "CHANGED",
    "UNREADABLE",
    "EMPTY_OBJECT",
    "OVER_LIMIT",
)


@dataclass(frozen=True)
class Snapshot:
    """A committed snapshot: its summary and every row of its manifest."""

    summary: SnapshotSummary
    rows: ManifestRows

    def split(self, name: Split) -> ManifestRows:
        """The usable images of one split, in listing order."""
        return self.rows.usable(name)

    def skipped(self) -> list[Skipped]:
        """What was not used, and why: the first 1000; the manifest has all."""
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
    if rows.digest() != summary.digest:
        raise JobError(
            "CONTROLLER_ERROR",
            f"{target.uri}: the manifest does not match its summary's digest {summary.digest[:12]}; "
            "somebody altered it. Take a new snapshot.",
        )
    return Snapshot(summary, rows)


def take_snapshot(
    source: Storage,
    target: Storage,
    *,
    snapshot_id: str,
    limits: LimitsSpec | None = None,
    on_progress: OnProgress | None = None,
    workers: int = WORKERS,
) -> Snapshot:
    """Look at every object of `source` once and commit what was seen to `target`.

    A snapshot that is there already is returned as it is. One bad object is counted and listed,
    never fatal.

    Args:
        source: The customer's prefix.
        target: Folder of this snapshot.
        snapshot_id: Its name in the summary.
        limits: What one image may cost.
        on_progress: Called with the share of objects done and counters, while listing too.
        workers: Objects downloaded at the same time.

    Raises:
        JobError: ACCESS_DENIED, DATA_EMPTY or DATA_UNREADABLE; then nothing is committed.
        StorageUnavailable: A store stopped answering; nothing is committed and a retry is safe.
    """
    limits = limits or LimitsSpec()
    existing = load_snapshot(target)
    if existing is not None:
        return existing
    if not target.exists(MANIFEST):
        manifest = _manifest(source, snapshot_id, limits, on_progress or (lambda share, counters: None), workers)
        with suppress(PreconditionFailed):  # another attempt was faster: its manifest is the snapshot
            target.put(MANIFEST, manifest, if_absent=True)
        del manifest  # the rows are read again, as everybody else will read them
    return _commit(target)


def assign_splits(hashes: Iterable[str], gate_share: float) -> dict[str, Split]:
    """Which half each content hash belongs to: decided by the hashes alone, whatever their order.

    The share is kept to the nearest image. With two or more hashes each half has at least one.
    """
    ranked = sorted(set(hashes), key=lambda digest: hashlib.sha256(f"split:{digest}".encode()).digest())
    # A single image goes to adapt: without it there would be nothing to judge either.
    gate = min(max(round(len(ranked) * gate_share), 1), len(ranked) - 1) if len(ranked) >= 2 else 0
    return {digest: "gate" if rank < gate else "adapt" for rank, digest in enumerate(ranked)}


def _manifest(source: Storage, snapshot_id: str, limits: LimitsSpec, on_progress: OnProgress, workers: int) -> bytes:
    started = time.monotonic()
    rows = scan(source, limits, on_progress, workers)
    header = ManifestHeader(snapshot_id, source.uri, round(time.monotonic() - started, 3))
    return to_parquet(header, _decided(rows, limits.gate_share))


def _decided(rows: ManifestRows, gate_share: float) -> Iterator[ManifestRow]:
    """`rows` without duplicates and with their splits, which only all content hashes together decide."""
    first: dict[str, int] = {}
    for number, (status, sha256) in enumerate(zip(rows.values("status"), rows.values("sha256"), strict=True)):
        if status == "OK":
            first.setdefault(sha256, number)
    splits = assign_splits(first, gate_share)
    for number, row in enumerate(rows):
        if row.usable and first[row.sha256] != number:
            row = row.skip("DUPLICATE", f"has the same content as {rows[first[row.sha256]].key}")
        yield replace(row, split=splits[row.sha256]) if row.usable else row


def _commit(target: Storage) -> Snapshot:
    header, rows = from_parquet(target.get(MANIFEST), where=f"{target.uri}/{MANIFEST}")
    usable, skipped = rows.usable(), rows.skipped()
    splits = usable.counts("split")
    summary = SnapshotSummary(
        snapshot_id=header.snapshot_id,
        source_uri=header.source_uri,
        digest=rows.digest(),
        objects=len(rows),
        images=len(usable),
        adapt_images=splits.get("adapt", 0),
        gate_images=splits.get("gate", 0),
        skipped=len(skipped),
        skipped_by_reason=skipped.counts("reason"),
        total_bytes=sum(usable.values("size")),
        seconds=header.seconds,
    )
    with suppress(PreconditionFailed):  # derived from the same manifest, so it says the same
        target.put(SUMMARY, summary.model_dump_json(indent=2).encode(), if_absent=True)
    return Snapshot(summary, rows)
