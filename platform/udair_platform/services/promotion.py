"""Which version serves: compare-and-set of the alias `champion`, its history, and the way back.

Promotion moves a pointer; nothing is copied and no process restarts. routes.json follows the alias:
`documents.routes.publish` right after the commit, or the reconciler if that did not happen.
"""

from __future__ import annotations

import re
from dataclasses import replace

from udair_platform.documents.route_entries import out_of_use
from udair_platform.entities.alias import CANDIDATE, CHAMPION, PREVIOUS, Alias
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.names import ALIAS_NAME
from udair_platform.entities.version import VersionState
from udair_platform.errors import AliasMoved, FieldError, GateRejected, Invalid, InvalidState
from udair_platform.services import approval, versions
from udair_platform.services.change import Change
from udair_platform.state.repositories import State


def promote(tx: Change, domain: Domain, number: int, *, reason: str, if_current: int | None = None) -> Alias:
    """Let version `number` serve `domain`; the version that served until now becomes `previous`.

    Promoting what serves already changes nothing and is no error.

    Args:
        number: 0 is the source model, which may always serve.
        if_current: Only if this version serves now.

    Raises:
        NotFound: There is no such version.
        FourEyes: The domain wants somebody else to decide than who submitted the version's job.
        GateRejected: The gate said no, or could not say, and the domain's rules do not allow that.
        InvalidState: It is archived, deleted, or made for another base model.
        AliasMoved: Another version serves than `if_current`.
    """
    current = _current(tx.state, domain, if_current)
    approval.check_four_eyes(tx, domain, number)
    return _serve(tx, domain, number, current, reason=reason)


def _current(state: State, domain: Domain, if_current: int | None) -> Alias:
    current = state.aliases.get(domain.tenant, domain.id, CHAMPION)
    if if_current is not None and current.version != if_current:
        raise AliasMoved(f"Version {current.version} serves {domain.name!r}; expected {if_current}.")
    return current


def _serve(tx: Change, domain: Domain, number: int, current: Alias, *, reason: str) -> Alias:
    state = tx.state
    check_promotable(tx, domain, number)
    canary = domain.traffic.canary
    if canary is not None and canary.version == number:
        # It takes everything now: a share of it besides says nothing any more.
        traffic = domain.traffic.model_copy(update={"canary": None})
        state.domains.save(replace(domain, traffic=traffic, updated_time=tx.now))
    if current.version == number:
        return current
    previous = state.aliases.find(domain.tenant, domain.id, PREVIOUS)
    moved = _move(tx, domain, CHAMPION, number, current.version, reason=reason)
    state.aliases.move(
        domain,
        PREVIOUS,
        current.version,
        expected=previous.version if previous else None,
        actor=tx.actor,
        reason=reason,
        now=tx.now,
    )
    tx.routes_changed(domain)
    return moved


def _move(tx: Change, domain: Domain, alias: str, to: int, before: int | None, *, reason: str) -> Alias:
    moved = tx.state.aliases.move(domain, alias, to, expected=before, actor=tx.actor, reason=reason, now=tx.now)
    data = {"from": before, "to": to, "domain": domain.name}
    tx.because(reason).record(domain, "alias.moved", data, noun="alias", name=alias)
    return moved


def rollback(tx: Change, domain: Domain, *, reason: str, if_current: int | None = None) -> Alias:
    """Let the version that served before serve again. Twice in a row changes there and back.

    Whoever may promote may do this, four eyes or not: it has served, and an outage does not wait.

    Args:
        if_current: Only if this version serves now: a rollback that is repeated after a lost answer
            then does not change back.

    Raises:
        InvalidState: Nothing served before.
        AliasMoved: Another version serves than `if_current`.
    """
    previous = tx.state.aliases.find(domain.tenant, domain.id, PREVIOUS)
    if previous is None:
        raise InvalidState(f"Domain {domain.name!r} has served one version only; there is no way back.")
    current = _current(tx.state, domain, if_current)
    return _serve(tx, domain, previous.version, current, reason=reason)


def point(tx: Change, domain: Domain, alias: str, number: int, *, reason: str, if_current: int | None = None) -> Alias:
    """Point any alias at a version; `champion` is promoted, `previous` and `candidate` are ours.

    Raises:
        Invalid: The alias may not be set, or its name is no alias.
        AliasMoved: It points elsewhere than `if_current`.
    """
    if alias == CHAMPION:
        return promote(tx, domain, number, reason=reason, if_current=if_current)
    if alias in (PREVIOUS, CANDIDATE) or not re.fullmatch(ALIAS_NAME, alias):
        detail = f"Alias {alias!r} cannot be set; expected {CHAMPION!r} or a name of your own (a-z, 0-9, '-')."
        raise Invalid(detail, errors=[FieldError("/alias", detail)])
    if number != SOURCE_VERSION:
        tx.state.versions.get(domain.tenant, domain.id, number)
    current = tx.state.aliases.find(domain.tenant, domain.id, alias)
    actual = current.version if current else None
    if if_current is not None and actual != if_current:
        raise AliasMoved(f"Alias {alias!r} points at {actual}; expected {if_current}.")
    if current is not None and current.version == number:
        return current
    return _move(tx, domain, alias, number, actual, reason=reason)


def check_promotable(tx: Change, domain: Domain, number: int) -> None:
    """Refuse a version that may not answer requests.

    Raises:
        NotFound: There is no such version.
        GateRejected: The gate said no, or could not say, and the domain's rules do not allow that.
        InvalidState: It is archived, deleted, or made for another base model.
    """
    if number == SOURCE_VERSION:
        return
    version = tx.state.versions.get(domain.tenant, domain.id, number)
    name = f"{domain.name}@{number}"
    if version.state is VersionState.REJECTED:
        raise GateRejected(f"{name} was {approval.rejected_by(version)}; `udair version show {name}`.")
    if version.state is VersionState.PENDING_APPROVAL:
        if not domain.gate.allow_inconclusive:
            raise GateRejected(
                f"The gate could not judge {name} ({version.verdict}). Adapt on more images, let somebody approve it "
                f"(`udair version approve {name}`), or set gate.allow_inconclusive on the domain."
            )
        version = versions.change(tx.because("gate.allow_inconclusive"), version, VersionState.ACTIVE)
    if version.verdict == "NOT_NEEDED":
        raise InvalidState(
            f"{name} changes nothing: no adapter was made. To serve the base model, promote {domain.name}@0."
        )
    if version.state is not VersionState.ACTIVE:
        raise InvalidState(f"{name} is {version.state} and cannot serve; only an ACTIVE version can.")
    why = out_of_use(domain, version, tx.state.bases.current())
    if why:
        raise InvalidState(f"{why[0].upper()}{why[1:]}. Run a new job for {domain.name!r}.")
