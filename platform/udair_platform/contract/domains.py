"""Domains, and the settings that people give them. The settings are stored as they are declared here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from udair.config import Tone
from udair_platform.contract.value import Value

BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
SOURCE_URI = rf"^(s3://{BUCKET}(/.*)?|file:///.*)$"
MAX_URI_CHARS = 1024
MOST_READY = 100


class GateRules(Value):
    """A domain's gate policy as its owner wrote it."""

    policy: str = Field("standard", max_length=32, description="standard or strict: the limits to start from")
    limits: dict[str, float] = Field(
        {}, max_length=32, description="limits that differ, by field name of udair.adaptation.gate.GatePolicy"
    )
    allow_inconclusive: bool = Field(False, description="let a version with too little evidence serve")
    four_eyes: bool = Field(
        False, description="who submitted a job may not let its version serve; only an admin may take it away"
    )


class Share(Value):
    """A version that takes part of a domain's requests."""

    version: int = Field(ge=0, le=2**31 - 1)
    percent: float = Field(gt=0, le=100)


class Traffic(Value):
    """How a domain's requests are shared out beside its champion."""

    canary: Share | None = Field(None, description="answers its share; must be promotable")
    shadow: Share | None = Field(None, description="restores its share a second time, to be compared; never answers")
    pinned: bool = Field(False, description="keep the adapters resident in every replica")
    min_ready: int = Field(
        0,
        ge=0,
        le=MOST_READY,
        description="replicas that have its adapters before they are asked for them, and one in waiting; 0: as they are asked",
    )
    canary_auto_rollback: bool = Field(
        False, description="take a canary away by itself that surely restores worse than the champion"
    )

    @property
    def shares(self) -> list[Share]:
        """Canary and shadow, as far as there are any."""
        return [share for share in (self.canary, self.shadow) if share is not None]


class Route(Traffic):
    """What serves a domain. Whether a replica cannot load it, the data plane's own `/route` knows."""

    state: str
    version: int
    holders: int | None = Field(
        None,
        description="replicas that said last that they have the version's adapter; null where it needs none, or none can be asked",
    )
    unheld: str = Field("", description="why a replica that should have the adapter has not; empty: none said so")
    tone: Tone = "keep"
    passthrough: str = ""
    out_of_use: str = ""


class Schedule(Value):
    """When a domain is adapted without being asked."""

    cron: str = Field("", max_length=100, description="five fields, UTC, e.g. '0 3 * * 1'; empty is never")
    on_drift: bool = Field(False, description="also when its images have drifted")
    recipe: dict[str, Any] = Field({}, description="fields of the recipe for such jobs")


class ScheduleStatus(Schedule):
    """A domain's schedule, and when it comes true next."""

    next_run_time: datetime | None = None


class Domain(Value):
    """A domain: one customer's place, its images, and what serves it."""

    name: str
    id: str
    source_uri: str
    description: str = ""
    gate: GateRules
    schedule: ScheduleStatus = ScheduleStatus()
    source_role_arn: str | None = None
    external_id: str = ""
    state: str
    tone: Tone = Field("keep", description="keep: exposure, colour and haze stay; restore: they are corrected, too")
    tone_aim: float | None = Field(None, description="mean brightness of restored pictures that is wanted, in (0, 1)")
    reference_uri: str | None = Field(None, description="prefix of good pictures of the same place or kind")
    passthrough: str = Field("", description="why images are served as they came; empty: they are restored")
    out_of_use: str = Field("", description="why the version that was promoted does not answer; empty: it does")
    champion: int
    aliases: dict[str, int] = Field(default_factory=dict)
    etag: str
    created_time: datetime
    updated_time: datetime
