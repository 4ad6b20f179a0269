"""What served a domain when, why, and who approved it: an export that the platform signs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from udair_platform.contract.value import Value


class ServedSpan(Value):
    """One stretch of time in which one thing answered, or was wanted and could not."""

    role: Literal["champion", "canary", "blocked"] = Field(
        description="blocked: a replica could not load the version, and another answered there"
    )
    from_time: datetime
    to_time: datetime | None = Field(
        description="null: it goes on when the period ends; of blocked: the end is not recorded"
    )
    version: int = Field(description="that was to answer; 0: the base model")
    answered: int = Field(description="the version that did answer")
    percent: float = Field(description="of the domain's requests")
    restoration: str = Field(description="model, or none while images were served as they came")
    note: str = Field(description="why another answered, or why images were served as they came")
    actor: str = Field(description="who let it serve")
    reason: str = Field(description="as they said")
    adapter_digest: str | None = Field(description="of what answered, where an adapter did")
    base_digest: str = Field(description="of the base model that answered, alone or with the adapter")
    verdict: str | None = Field(description="of the gate, on the version that was to answer")
    job_id: str | None = Field(description="that made that version")
    reviewed_by: str | None = Field(description="who approved it, where the gate could not judge it")
    reviewed_time: datetime | None
    review_reason: str


class ServedHistory(Value):
    """What served one domain in one period: every stretch that touches it, with its own beginning and end."""

    tenant: str
    domain: str
    from_time: datetime
    to_time: datetime
    spans: list[ServedSpan]


class HistoryCheck(Value):
    """Whether the platform signed an export, and when."""

    genuine: bool
    domain: str | None
    time: datetime | None
    detail: str = Field(description="the answer in a sentence")
