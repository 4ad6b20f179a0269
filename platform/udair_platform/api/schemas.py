"""What requests look like. Unknown fields are refused."""

from __future__ import annotations

from datetime import MAXYEAR, UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from udair_jobs.specs import RecipeSpec
from udair_platform.entities.domain import Schedule
from udair_platform.entities.job import Priority
from udair_platform.entities.names import DOMAIN_NAME
from udair_platform.roles import Role, Scope

_SOURCE = r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?|file:///.*)$"
_TEXT = r"^[^\x00]*$"  # a database may not be able to keep a NUL
_MOST = 2**31 - 1  # that the database counts to
Reason = Field("", max_length=500, pattern=_TEXT, description="why, for the history")
DomainName = Annotated[str, Field(max_length=63, pattern=DOMAIN_NAME)]


class Request(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")


class GateBody(Request):
    """Gate rules of a new domain."""

    policy: str = Field("standard", max_length=32, description="standard or strict")
    limits: dict[str, float] = Field(default_factory=dict, max_length=32, description="limits that differ")
    allow_inconclusive: bool = Field(False, description="let a version with too little evidence serve")
    four_eyes: bool = Field(False, description="who submitted a job may not let its version serve")


class GatePatch(Request):
    """What changes in a domain's gate rules; a limit set to null falls back to the policy's."""

    policy: str | None = Field(None, max_length=32)
    limits: dict[str, float | None] | None = Field(None, max_length=32)
    allow_inconclusive: bool | None = None
    four_eyes: bool | None = Field(None, description="only an admin may take it away")


class ScheduleBody(Request):
    """When a domain is adapted without being asked."""

    cron: str = Field("", max_length=100, description="five fields, UTC, e.g. '0 3 * * 1'; empty is never")
    on_drift: bool = Field(False, description="also when its images have drifted")
    recipe: RecipeSpec = RecipeSpec.model_construct()

    def schedule(self) -> Schedule:
        """The schedule that it describes."""
        return Schedule(self.cron, self.on_drift, self.recipe.model_dump(exclude_unset=True))


class DomainCreate(Request):
    """A new domain."""

    # Patterns are for the schema only: the registry's own refusals say more.
    name: str = Field(
        max_length=63, description="starts with a letter", json_schema_extra={"pattern": DOMAIN_NAME, "minLength": 3}
    )
    source_uri: str | None = Field(
        None,
        max_length=1024,
        description="s3://bucket/prefix of unlabelled images; without one they are uploaded",
        json_schema_extra={"pattern": _SOURCE},
    )
    description: str = Field("", max_length=1000, pattern=_TEXT)
    gate: GateBody = GateBody()
    schedule: ScheduleBody = ScheduleBody()
    source_role_arn: str | None = Field(
        None, max_length=600, description="a role of yours that reads source_uri; it must trust our external_id"
    )


class DomainPatch(Request):
    """What changes in a domain (JSON merge patch)."""

    description: str | None = Field(None, max_length=1000, pattern=_TEXT)
    gate: GatePatch | None = None
    schedule: ScheduleBody | None = Field(None, description="replaces the schedule")


class JobCreate(Request):
    """A new adaptation job."""

    recipe: RecipeSpec = RecipeSpec.model_construct()
    snapshot: str | None = Field(None, max_length=64, pattern=_TEXT, description="a snapshot to use again, or 'latest'")
    priority: Priority = Field(Priority.NORMAL, description="which of the tenant's waiting jobs starts first")


class AliasPut(Request):
    """Compare-and-set of an alias."""

    version: int = Field(ge=0, le=_MOST, description="0 is the source model")
    if_current: int | None = Field(None, ge=0, le=_MOST, description="only if the alias points here now")
    reason: str = Reason


class UploadsCreate(Request):
    """Images to upload."""

    names: list[str] = Field(min_length=1, max_length=1000, description="file names, e.g. cam7-0001.jpg")


class ShareBody(Request):
    """A version and its percentage of the requests."""

    version: int = Field(ge=0, le=_MOST)
    percent: float = Field(gt=0, le=100)


class RoutePut(Request):
    """How requests are shared out beside the champion."""

    canary: ShareBody | None = Field(None, description="answers its share; must be promotable")
    shadow: ShareBody | None = Field(None, description="restores its share a second time, to be compared")
    pinned: bool = Field(False, description="keep the adapters resident in every replica")
    reason: str = Reason


class ReviewRequest(Request):
    """Why a version is approved, rejected or put away."""

    reason: str = Reason


class Promote(Request):
    """Why a version shall serve."""

    if_current: int | None = Field(None, ge=0, le=_MOST)
    reason: str = Reason


class Rollback(Request):
    """Why the version that served before shall serve again."""

    if_current: int | None = Field(None, ge=0, le=_MOST, description="only if this version serves now")
    reason: str = Reason


class WebhookCreate(Request):
    """A new webhook."""

    url: str = Field(max_length=2048, description="https://…; told by POST, signed (Standard Webhooks)")
    kinds: list[str] = Field(default=["*"], min_length=1, max_length=32, description="e.g. job.SUCCEEDED, job.*, *")
    description: str = Field("", max_length=500)


class KeyCreate(Request):
    """A new API key: what it may do is said by a role or by scopes."""

    name: str = Field(min_length=1, max_length=100, pattern=_TEXT)
    role: Role | None = Field(None, description="a named set of scopes")
    scopes: list[Scope] | None = Field(None, min_length=1, max_length=16)
    domains: list[DomainName] | None = Field(None, max_length=100, description="the only domains it may touch")
    expires_time: AwareDatetime | None = None

    @field_validator("expires_time")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value and value.astimezone(UTC)
        except OverflowError:
            raise ValueError(f"expected a time before the year {MAXYEAR}") from None

    @model_validator(mode="after")
    def _one_of_both(self) -> KeyCreate:
        if (self.role is None) == (self.scopes is None):
            raise ValueError("expected exactly one of role and scopes")
        return self


class KeyRotate(Request):
    """How long the key that is replaced stays good."""

    grace_s: int = Field(0, ge=0, le=30 * 86_400, description="seconds; 0 revokes it at once")
