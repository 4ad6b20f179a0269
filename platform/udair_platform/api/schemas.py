"""What requests look like. Unknown fields are refused."""

from __future__ import annotations

from datetime import MAXYEAR, UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from udair.config import Tone
from udair_jobs.specs import ToneAim
from udair_platform.contract.budgets import Budget
from udair_platform.contract.domains import MAX_URI_CHARS, SOURCE_URI, GateRules, Schedule, Share, Traffic
from udair_platform.contract.receipts import MAX_CHARS
from udair_platform.contract.recipes import Recipe
from udair_platform.contract.value import partial
from udair_platform.entities.job import Priority
from udair_platform.entities.names import DOMAIN_NAME
from udair_platform.roles import Role, Scope

_TEXT = r"^[^\x00]*$"  # a database may not be able to keep a NUL
_MOST = 2**31 - 1  # that the database counts to
Reason = Field("", max_length=500, pattern=_TEXT, description="why, for the history")
DomainName = Annotated[str, Field(max_length=63, pattern=DOMAIN_NAME)]


class Request(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid")


class GateBody(GateRules, extra="forbid"):
    """Gate rules of a new domain."""


@partial
class GatePatch(GateRules, extra="forbid"):
    """What changes in a domain's gate rules; a limit set to null falls back to the policy's."""

    limits: dict[str, float | None] = Field({}, max_length=32)  # type: ignore[assignment]


class ScheduleBody(Schedule, extra="forbid"):
    """When a domain is adapted without being asked."""

    recipe: Recipe = {}  # noqa: RUF012


class DomainCreate(Request):
    """A new domain."""

    # Patterns are for the schema only: the registry's own refusals say more.
    name: str = Field(
        max_length=63, description="starts with a letter", json_schema_extra={"pattern": DOMAIN_NAME, "minLength": 3}
    )
    source_uri: str | None = Field(
        None,
        max_length=MAX_URI_CHARS,
        description="s3://bucket/prefix of unlabelled images; without one they are uploaded",
        json_schema_extra={"pattern": SOURCE_URI},
    )
    description: str = Field("", max_length=1000, pattern=_TEXT)
    tone: Tone = Field(
        "keep", description="what restorations may change; restore also corrects exposure, colour and haze"
    )
    tone_aim: ToneAim | None = Field(
        None, description="mean brightness of restored pictures that you want; with tone restore only"
    )
    reference_uri: str | None = Field(
        None,
        max_length=MAX_URI_CHARS,
        description="s3://bucket/prefix of good pictures of the same place or kind, in no order; read as source_uri is",
        json_schema_extra={"pattern": SOURCE_URI},
    )
    gate: GateBody = GateBody()
    schedule: ScheduleBody = ScheduleBody()
    source_role_arn: str | None = Field(
        None, max_length=600, description="a role of yours that reads source_uri; it must trust our external_id"
    )


class DomainPatch(Request):
    """What changes in a domain (JSON merge patch)."""

    description: str | None = Field(None, max_length=1000, pattern=_TEXT)
    tone: Tone | None = Field(None, description="the domain then needs a new adaptation")
    tone_aim: ToneAim | None = Field(None, description="null takes it away; the domain then needs a new adaptation")
    reference_uri: str | None = Field(
        None,
        max_length=MAX_URI_CHARS,
        description="null takes it away; the domain then needs a new adaptation",
        json_schema_extra={"pattern": SOURCE_URI},
    )
    gate: GatePatch | None = None
    schedule: ScheduleBody | None = Field(None, description="replaces the schedule")


class JobCreate(Request):
    """A new adaptation job."""

    recipe: Recipe = {}
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


class ShareBody(Share, extra="forbid"):
    """A version and its percentage of the requests."""


class BudgetPut(Budget, extra="forbid"):
    """The tenant's budget."""


class RoutePut(Traffic, extra="forbid"):
    """How requests are shared out beside the champion; what is left out is taken away."""

    canary: ShareBody | None = Field(None, description="answers its share; must be promotable")
    shadow: ShareBody | None = Field(None, description="restores its share a second time, to be compared")
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


class ReceiptVerify(Request):
    """A receipt to be checked."""

    receipt: str = Field(min_length=1, max_length=MAX_CHARS, pattern=_TEXT, description="the answer's header X-Receipt")


class HistoryVerify(Request):
    """An export and its signature, to be checked."""

    signature: str = Field(min_length=1, max_length=1024, pattern=_TEXT, description="the answer's header X-Signature")
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$", description="of the export's bytes")
