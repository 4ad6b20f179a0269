"""A domain: one customer's place, its images, and the model that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from udair_platform.entities import machine

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
class GateRules:
    """A domain's gate policy as its owner wrote it.

    Attributes:
        policy: ``standard`` or ``strict``: the limits to start from.
        limits: Limits that differ from it, by field name of `udair.adaptation.gate.GatePolicy`.
        allow_inconclusive: Let a version with too little evidence be promoted all the same.
        four_eyes: Whoever submitted a job may neither approve nor promote the version that came of it.
    """

    policy: str = "standard"
    limits: Mapping[str, float] = field(default_factory=dict)
    allow_inconclusive: bool = False
    four_eyes: bool = False

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``GateRules(**value)`` reads it back."""
        return {
            "policy": self.policy,
            "limits": dict(self.limits),
            "allow_inconclusive": self.allow_inconclusive,
            "four_eyes": self.four_eyes,
        }


@dataclass(frozen=True)
class Share:
    """A version that takes part of a domain's traffic, in percent."""

    version: int
    percent: float


@dataclass(frozen=True)
class Traffic:
    """How a domain's requests are shared out beside its champion.

    Attributes:
        canary: Answers its share.
        shadow: Restores its share a second time, to be compared; never answers.
        pinned: The adapters stay resident in every replica.
    """

    canary: Share | None = None
    shadow: Share | None = None
    pinned: bool = False

    @property
    def shares(self) -> list[Share]:
        """Canary and shadow, as far as there are any."""
        return [share for share in (self.canary, self.shadow) if share is not None]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; `from_dict` reads it back."""
        shares = {"canary": self.canary, "shadow": self.shadow}
        return {name: vars(share) if share else None for name, share in shares.items()} | {"pinned": self.pinned}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Traffic:
        """Read what `to_dict` wrote."""
        canary, shadow = (Share(**value[name]) if value.get(name) else None for name in ("canary", "shadow"))
        return cls(canary, shadow, bool(value.get("pinned", False)))


@dataclass(frozen=True)
class Schedule:
    """When a domain is adapted without being asked.

    Attributes:
        cron: Five fields, UTC; empty is never.
        on_drift: Also when its images have drifted from those that its adapter was made of.
        recipe: Fields of `udair_jobs.specs.RecipeSpec` for such jobs.
    """

    cron: str = ""
    on_drift: bool = False
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``Schedule(**value)`` reads it back."""
        return {"cron": self.cron, "on_drift": self.on_drift, "recipe": dict(self.recipe)}


@dataclass(frozen=True)
class Domain:
    """One customer's place. `name` is unique among the tenant's domains that are not deleted.

    Attributes:
        source_role_arn: Role of the customer's that its images are read with; None reads them with the
            platform's own rights.
        external_id: What that role's trust policy must ask for. Made by us and different for every
            domain: a customer who knows another's role cannot have it assumed.
        next_run_time: When the schedule comes true next.
    """

    id: str
    tenant: str
    name: str
    source_uri: str
    gate: GateRules
    created_time: datetime
    updated_time: datetime
    description: str = ""
    state: DomainState = DomainState.ACTIVE
    traffic: Traffic = field(default_factory=Traffic)
    schedule: Schedule = field(default_factory=Schedule)
    next_run_time: datetime | None = None
    source_role_arn: str | None = None
    external_id: str = ""
    row_version: int = 1
    seq: int = 0


def advance(domain: Domain, to: DomainState, *, now: datetime) -> Domain:
    """`domain` in state `to`.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Domain", domain.name, TRANSITIONS, domain.state, to)
    return replace(domain, state=to, updated_time=now)
