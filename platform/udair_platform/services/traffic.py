"""How a domain's requests are shared out: a canary that answers some, a shadow that answers none."""

from __future__ import annotations

from dataclasses import replace

from udair_platform.contract.domains import Traffic
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.version import VersionState
from udair_platform.errors import Invalid, InvalidState
from udair_platform.services import approval, promotion
from udair_platform.services.change import Change

_SHADOWS = (VersionState.ACTIVE, VersionState.PENDING_APPROVAL, VersionState.REJECTED)


def set_traffic(tx: Change, domain: Domain, traffic: Traffic, *, reason: str) -> Domain:
    """Share out `domain`'s requests as `traffic` says; routes.json follows.

    A canary must be a version that may be promoted. A shadow answers nobody, so that a version which
    the gate could not judge, or refused, can be looked at on real traffic.

    Raises:
        Invalid: The canary is what serves anyway.
        NotFound: There is no such version.
        FourEyes: Somebody else must let the canary serve than who submitted its job.
        GateRejected: The canary may not serve.
        InvalidState: The version cannot be used as asked.
    """
    if traffic.canary is not None:
        champion = tx.state.aliases.get(domain.tenant, domain.id, "champion")
        if champion.version == traffic.canary.version:
            raise Invalid(f"Version {champion.version} serves {domain.name!r} already; a canary is another one.")
        approval.check_four_eyes(tx, domain, traffic.canary.version)
        promotion.check_promotable(tx, domain, traffic.canary.version)
    if traffic.shadow is not None and traffic.shadow.version != SOURCE_VERSION:
        version = tx.state.versions.get(domain.tenant, domain.id, traffic.shadow.version)
        if version.state not in _SHADOWS:
            raise InvalidState(f"{domain.name}@{version.number} is {version.state} and cannot be a shadow.")
    return save(tx, domain, traffic, reason=reason)


def save(tx: Change, domain: Domain, traffic: Traffic, *, reason: str) -> Domain:
    """Share out `domain`'s requests as `traffic`, which was checked, says; routes.json follows."""
    saved = tx.state.domains.save(replace(domain, traffic=traffic, updated_time=tx.now))
    data = {"from": domain.traffic.model_dump(), "to": traffic.model_dump()}
    tx.because(reason).record(saved, "route.changed", data, noun="route")
    tx.routes_changed(domain)
    return saved
