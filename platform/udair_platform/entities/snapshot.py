"""A snapshot: the immutable list of images that a job read, made by the job, recorded here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from udair_platform.entities import machine
from udair_platform.entities.text import Id, Name, Prose, TenantId


class SnapshotState(StrEnum):
    """EXPIRED: the objects that it lists are gone from the customer's bucket."""

    SCANNING = "SCANNING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


TRANSITIONS: Mapping[SnapshotState, frozenset[SnapshotState]] = {
    SnapshotState.SCANNING: frozenset({SnapshotState.ACTIVE, SnapshotState.FAILED}),
    SnapshotState.ACTIVE: frozenset({SnapshotState.EXPIRED}),
    SnapshotState.FAILED: frozenset(),
    SnapshotState.EXPIRED: frozenset(),
}


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a domain's images.

    Attributes:
        uri: Folder in the platform's store that holds the manifest and its summary.
        summary: `udair_jobs.specs.SnapshotSummary` once the job has written it.
        job_id: The job that makes it.
    """

    id: Id
    tenant: TenantId
    domain_id: Id
    job_id: Id
    uri: str
    created_time: datetime
    updated_time: datetime
    state: SnapshotState = SnapshotState.SCANNING
    digest: Name | None = None
    summary: Mapping[str, Any] | None = None
    detail: Prose = ""
    row_version: int = 1
    seq: int = 0


def advance(
    snapshot: Snapshot,
    to: SnapshotState,
    *,
    now: datetime,
    summary: Mapping[str, Any] | None = None,
    detail: str = "",
) -> Snapshot:
    """`snapshot` in state `to`, with what the job found.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Snapshot", snapshot.id, TRANSITIONS, snapshot.state, to)
    moved = replace(snapshot, state=to, updated_time=now, detail=detail or snapshot.detail)
    if summary is not None:
        moved = replace(moved, summary=summary, digest=str(summary["digest"]))
    return moved
