"""Adapter versions, the gate's reports on them, their files and where they come from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from udair.config import Tone
from udair_platform.contract.aliases import AliasChange
from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.contract.value import Value


class Version(Value):
    """An adapter version; `gate` is the verdict with every check behind it."""

    number: int
    domain: str
    state: str
    verdict: str | None = None
    gate: dict[str, Any] | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    job_id: str
    snapshot_id: str
    base_model: BaseModelInfo
    adapter_digest: str
    code_version: str = ""
    words: list[str] = Field([], description="what its job found, in plain sentences")
    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None
    out_of_use: str = Field("", description="why it cannot answer: another base model, or another intent")
    aliases: list[str] = Field(default_factory=list)
    reviewed_by: str | None = None
    reviewed_time: datetime | None = None
    review_reason: str = ""
    created_time: datetime
    updated_time: datetime


class GateCheck(Value):
    """One line of the gate's report."""

    name: str
    measured: float | None
    limit: float | None
    passed: bool
    judged: bool = True
    detail: str = ""


class GateReport(Value):
    """The gate's report on a version, and the evidence that it judged."""

    version: int
    state: str
    verdict: str | None
    checks: list[GateCheck]
    rules: dict[str, Any]
    evidence: dict[str, Any] | None = None


class File(Value):
    """One file of a version; `url` reads it without a key for 15 minutes, where the store can do that."""

    name: str
    sha256: str
    size_bytes: int
    url: str | None = None


class Files(Value):
    """Every file of a version."""

    files: list[File]


class Lineage(Value):
    """Everything that an answer with `X-Adapter-Version` rests on, and when it served."""

    version: int
    adapter_digest: str
    candidate_uri: str
    verdict: str | None
    job_id: str
    attempts: int
    cause_actor: str
    recipe: dict[str, Any]
    config_digest: str
    snapshot_id: str
    snapshot_digest: str | None
    snapshot_uri: str
    images: int | None
    base_model: BaseModelInfo
    code_version: str
    created_time: datetime
    served: list[AliasChange]
