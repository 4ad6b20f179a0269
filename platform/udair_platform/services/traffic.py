"""How a domain's requests are shared out: a canary that answers some, a shadow that answers none."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from udair_platform.documents import routes
from udair_platform.entities.domain import SOURCE_VERSION, Domain, Traffic
from udair_platform.entities.version import VersionState
from udair_platform.errors import Invalid, InvalidState
from udair_platform.services import approval, promotion
from udair_platform.state.repositories import State

_SHADOWS = (VersionState.ACTIVE, VersionState.PENDING_APPROVAL, VersionState.REJECTED)


def set_traffic(state: State, domain: Domain, traffic: Traffic, *, actor: str, reason: str, now: datetime) -> Domain:
    """Share out `domain`'s requests as `traffic` says; routes.json follows.

    A canary must be a version that may be promoted. A shadow answers nobody, so that a version which
    the gate could not judge, or refused, can be looked at on real traffic.

    Raises:
        Invalid: A percentage is not within 0 to 100, or the canary is what serves anyway.
        NotFound: There is no such version.
        FourEyes: Somebody else must let the canary serve than who submitted its job.
        GateRejected: The canary may not serve.
        InvalidState: The version cannot be used as asked.
    """
    for name, share in (("canary", traffic.canary), ("shadow", traffic.shadow)):
        if share is not None and not 0 < share.percent <= 100:
            raise Invalid(f"{name}.percent is {share.percent:g}; expected more than 0, at most 100.")
    if traffic.canary is not None:
        champion = state.aliases.get(domain.tenant, domain.id, "champion")
        if champion.version == traffic.canary.version:
            raise Invalid(f"Version {champion.version} serves {domain.name!r} already; a canary is another one.")
        approval.check_four_eyes(state, domain, traffic.canary.version, actor=actor)
        promotion.check_promotable(state, domain, traffic.canary.version, actor=actor, now=now)
    if traffic.shadow is not None and traffic.shadow.version != SOURCE_VERSION:
        version = state.versions.get(domain.tenant, domain.id, traffic.shadow.version)
        if version.state not in _SHADOWS:
            raise InvalidState(f"{domain.name}@{version.number} is {version.state} and cannot be a shadow.")
    saved = state.domains.save(replace(domain, traffic=traffic, updated_time=now))
    state.record(
        tenant=domain.tenant,
        now=now,
        actor=actor,
        cause=reason,
        noun="route",
        name=domain.name,
        kind="route.changed",
        domain_id=domain.id,
        data={"from": domain.traffic.to_dict(), "to": traffic.to_dict()},
    )
    routes.changed(state)
    return saved
