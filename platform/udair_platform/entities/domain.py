"""A domain: one customer's place, its images, and the model that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from udair.config import Tone
from udair_platform.contract.domains import GateRules, Schedule, Traffic
from udair_platform.entities import machine
from udair_platform.entities.intent import Intent
from udair_platform.entities.text import DomainName, Id, Name, Prose, ShortName, TenantId

SOURCE_VERSION = 0  # every domain has it: the source model without an adapter


class DomainState(StrEnum):
    """Deleting is final; the name becomes free, the history stays."""

    ACTIVE = "ACTIVE"
    DELETED = "DELETED"


TRANSITIONS: Mapping[DomainState, frozenset[DomainState]] = {
    DomainState.ACTIVE: frozenset({DomainState.DELETED}),
    DomainState.DELETED: frozenset(),
}


@dataclass(frozen=True)
class Domain:
    """One customer's place. `name` is unique among the tenant's domains that are not deleted.

    Attributes:
        source_role_arn: Role of the customer's that its images are read with; None reads them with the
            platform's own rights.
        external_id: What that role's trust policy must ask for. Made by us and different for every
            domain: a customer who knows another's role cannot have it assumed.
        next_run_time: When the schedule comes true next.
        scheduled_by: Who set the schedule; empty where nobody did, or before that was kept.
        tone, tone_aim, reference_uri: Its intent.
        passthrough: Why images that no adapter is for are served as they came: the base model loses against doing
            nothing here. Empty: they are restored.
    """

    id: Id
    tenant: TenantId
    name: DomainName
    source_uri: str
    gate: GateRules
    created_time: datetime
    updated_time: datetime
    description: Prose = ""
    state: DomainState = DomainState.ACTIVE
    traffic: Traffic = Traffic()
    schedule: Schedule = Schedule()
    next_run_time: datetime | None = None
    scheduled_by: Name = ""
    source_role_arn: str | None = None
    external_id: ShortName = ""
    tone: Tone = "keep"
    tone_aim: float | None = None
    reference_uri: str | None = None
    passthrough: Prose = ""
    row_version: int = 1
    seq: int = 0

    @property
    def intent(self) -> Intent:
        """What its restorations shall be like."""
        return Intent(self.tone, self.tone_aim, self.reference_uri)


def advance(domain: Domain, to: DomainState, *, now: datetime) -> Domain:
    """`domain` in state `to`.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Domain", domain.name, TRANSITIONS, domain.state, to)
    return replace(domain, state=to, updated_time=now)
