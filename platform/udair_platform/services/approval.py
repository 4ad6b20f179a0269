"""What people decide about a version: approve what the gate could not judge, reject it, put it away.

Every decision is an event that names who took it and why; the version says who reviewed it. Saying the same again changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from udair_platform.entities.alias import CANDIDATE, PREVIOUS
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import FourEyes, GateRejected, VersionInUse
from udair_platform.services import versions
from udair_platform.services.api_keys import bearer_of
from udair_platform.services.change import Change
from udair_platform.state.repositories import State

_MOVED_BY = {CANDIDATE: "the next version moves it", PREVIOUS: "the next promotion moves it"}


def approve(tx: Change, domain: Domain, number: int, *, reason: str) -> AdapterVersion:
    """Let a version that waits for a person become promotable.

    Raises:
        NotFound: There is no such version.
        FourEyes: The domain wants somebody else to decide than who submitted the version's job.
        GateRejected: The gate, or a person, said no; nobody overrules that.
        InvalidState: It is archived, deleted or failed.
    """
    version = tx.state.versions.get(domain.tenant, domain.id, number)
    check_four_eyes(tx, domain, number)
    if version.state is VersionState.REJECTED:
        raise GateRejected(f"{domain.name}@{number} was {rejected_by(version)}. Run another job for the domain.")
    return _review(tx, version, VersionState.ACTIVE, reason=reason or "approved")


def reject(tx: Change, domain: Domain, number: int, *, reason: str) -> AdapterVersion:
    """Refuse a version that waits for a person, for good. Who submitted its job may do so, too.

    Raises:
        NotFound: There is no such version.
        InvalidState: It does not wait for a person; one that may serve is archived instead.
    """
    version = tx.state.versions.get(domain.tenant, domain.id, number)
    return _review(tx, version, VersionState.REJECTED, reason=reason or "rejected")


def archive(tx: Change, domain: Domain, number: int, *, reason: str) -> AdapterVersion:
    """Put away a version that nothing points at: it can no longer be promoted.

    Raises:
        NotFound: There is no such version.
        VersionInUse: An alias or a share of the traffic points at it.
        InvalidState: It never could serve.
    """
    version = tx.state.versions.get(domain.tenant, domain.id, number)
    for alias in tx.state.aliases.all(domain.tenant, domain.id):
        if alias.version == number:
            how = _MOVED_BY.get(alias.name, "move it first")
            raise VersionInUse(f"Alias {alias.name!r} points at {domain.name}@{number}; {how}.")
    if any(share.version == number for share in domain.traffic.shares):
        raise VersionInUse(f"{domain.name}@{number} takes part of the traffic; change the domain's route first.")
    if version.state is VersionState.ARCHIVED:
        return version
    return versions.change(tx.because(reason or "archived"), version, VersionState.ARCHIVED)


def overdue(state: State, *, timeout_s: float, now: datetime) -> list[AdapterVersion]:
    """Some of the versions that have waited longer than `timeout_s` for a person; none when all is well."""
    return state.versions.unapproved(before=now - timedelta(seconds=timeout_s))


def expire(tx: Change, version: AdapterVersion, *, timeout_s: float) -> AdapterVersion:
    """Reject a version that nobody decided about in time. Raises StaleWrite."""
    return _review(tx, version, VersionState.REJECTED, reason=f"not approved within {timeout_s:g} s")


def check_four_eyes(tx: Change, domain: Domain, number: int) -> None:
    """Refuse that an actor lets a version serve whose job it set off, where the domain says so.

    By itself, by running it again, or by the schedule that it set; with a key that was rotated since, too.

    Raises:
        NotFound: There is no such version.
        FourEyes: It did submit that job.
    """
    if not domain.gate.four_eyes or number == SOURCE_VERSION:
        return
    version = tx.state.versions.get(domain.tenant, domain.id, number)
    job = tx.state.jobs.get(domain.tenant, version.job_id)
    bearers = {bearer_of(tx.state, domain.tenant, actor) for actor in job.asked_by or (job.actor,)}
    if bearer_of(tx.state, domain.tenant, tx.actor) in bearers:
        raise FourEyes(
            f"{tx.actor} set off the job of {domain.name}@{number}, and gate.four_eyes of the domain wants "
            "somebody else to let it serve. Ask another approver."
        )


def rejected_by(version: AdapterVersion) -> str:
    """Who said no, in words: the gate, or somebody who refused what the gate could not judge."""
    by = f"by {version.reviewed_by}" if version.reviewed_by else "by the gate"
    return f"rejected {by} ({version.verdict})"


def _review(tx: Change, version: AdapterVersion, to: VersionState, *, reason: str) -> AdapterVersion:
    if version.state is to:
        return version
    reviewed = replace(version, reviewed_by=tx.actor, reviewed_time=tx.now, review_reason=reason)
    return versions.change(tx.because(reason), reviewed, to)
