"""An adapter version: one published candidate, the gate's verdict on it, and what may follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from udair.config import Tone
from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.entities import machine
from udair_platform.entities.intent import Intent
from udair_platform.entities.text import Id, Name, ShortName, TenantId, Verdict


class VersionState(StrEnum):
    """Being promoted is a fact about an alias, never a state of a version."""

    CREATING = "CREATING"
    EVALUATING = "EVALUATING"
    PENDING_APPROVAL = "PENDING_APPROVAL"
    ACTIVE = "ACTIVE"
    ARCHIVED = "ARCHIVED"
    DELETED = "DELETED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


_V = VersionState
TRANSITIONS: Mapping[VersionState, frozenset[VersionState]] = {
    _V.CREATING: frozenset({_V.EVALUATING, _V.FAILED}),
    _V.EVALUATING: frozenset({_V.PENDING_APPROVAL, _V.ACTIVE, _V.REJECTED, _V.ARCHIVED, _V.FAILED}),
    _V.PENDING_APPROVAL: frozenset({_V.ACTIVE, _V.REJECTED}),
    _V.ACTIVE: frozenset({_V.ARCHIVED}),
    _V.ARCHIVED: frozenset({_V.DELETED}),
    _V.REJECTED: frozenset({_V.DELETED}),
    _V.FAILED: frozenset({_V.DELETED}),
    _V.DELETED: frozenset(),
}


@dataclass(frozen=True)
class AdapterVersion:
    """One published candidate. Numbers of a domain are 1, 2, 3…; a job yields at most one.

    Attributes:
        adapter_digest: sha256 of adapter.safetensors: the adapter's name everywhere.
        candidate_uri: Folder with the adapter, its evidence and MANIFEST.json.
        gate: `udair.adaptation.gate.GateReport.to_dict()`, with the rules it was judged by.
        evidence: What was measured; the gate can be run again over it.
        words: What its job found, in plain sentences: the first lines of every report on it.
        tone, tone_aim, reference_uri: The intent that the adapter was made for.
        reviewed_by: Who approved or rejected it; None where the gate decided.
    """

    domain_id: Id
    tenant: TenantId
    number: int
    job_id: Id
    snapshot_id: Id
    base_name: Name
    base_digest: Name
    adapter_digest: Name
    candidate_uri: str
    created_time: datetime
    updated_time: datetime
    state: VersionState = VersionState.CREATING
    verdict: Verdict | None = None
    gate: Mapping[str, Any] | None = None
    evidence: Mapping[str, Any] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    code_version: ShortName = ""
    words: tuple[str, ...] = ()
    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None
    reviewed_by: Name | None = None
    reviewed_time: datetime | None = None
    review_reason: str = ""
    row_version: int = 1

    @property
    def intent(self) -> Intent:
        """What the adapter was made for."""
        return Intent(self.tone, self.tone_aim, self.reference_uri)

    @property
    def base_model(self) -> BaseModelInfo:
        """The base model that it is for."""
        return BaseModelInfo(name=self.base_name, digest=self.base_digest)


def advance(version: AdapterVersion, to: VersionState, *, now: datetime) -> AdapterVersion:
    """`version` in state `to`.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Version", f"@{version.number}", TRANSITIONS, version.state, to)
    return replace(version, state=to, updated_time=now)
