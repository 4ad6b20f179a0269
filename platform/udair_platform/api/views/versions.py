"""What versions and the gate's reports look like in replies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.api.views.platform import BaseView
from udair_platform.entities.alias import Alias
from udair_platform.entities.version import AdapterVersion


class VersionView(BaseModel):
    """An adapter version; `gate` is the verdict with every check behind it."""

    number: int
    domain: str
    state: str
    verdict: str | None
    gate: dict[str, Any] | None
    metrics: dict[str, Any]
    job_id: str
    snapshot: str
    base_model: BaseView
    adapter_digest: str
    code_version: str
    aliases: list[str]
    reviewed_by: str | None
    reviewed_time: datetime | None
    review_reason: str
    created_time: datetime
    updated_time: datetime

    @classmethod
    def of(cls, version: AdapterVersion, domain: str, aliases: Sequence[Alias]) -> VersionView:
        """The view of `version`."""
        return cls(
            number=version.number,
            domain=domain,
            state=version.state,
            verdict=version.verdict,
            gate=None if version.gate is None else dict(version.gate),
            metrics=dict(version.metrics),
            job_id=version.job_id,
            snapshot=version.snapshot_id,
            base_model=BaseView(name=version.base_name, digest=version.base_digest),
            adapter_digest=version.adapter_digest,
            code_version=version.code_version,
            aliases=sorted(alias.name for alias in aliases if alias.version == version.number),
            reviewed_by=version.reviewed_by,
            reviewed_time=version.reviewed_time,
            review_reason=version.review_reason,
            created_time=version.created_time,
            updated_time=version.updated_time,
        )


class GateReportView(BaseModel):
    """The gate's report on a version, and the evidence that it judged."""

    version: int
    state: str
    verdict: str | None
    checks: list[dict[str, Any]]
    rules: dict[str, Any]
    evidence: dict[str, Any] | None

    @classmethod
    def of(cls, version: AdapterVersion) -> GateReportView:
        """The report of `version`."""
        report: Mapping[str, Any] = version.gate or {}
        return cls(
            version=version.number,
            state=version.state,
            verdict=version.verdict,
            checks=list(report.get("checks", [])),
            rules=dict(report.get("rules", {})),
            evidence=None if version.evidence is None else dict(version.evidence),
        )
