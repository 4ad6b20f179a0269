"""What needs somebody's attention now: one answer for the console, the API and the command line.

Everything is asked of the database in a bounded number of questions, however many domains there are; only whether a
replica went is in the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from udair_platform.contract.attention import Concern, Kind
from udair_platform.documents.route_entries import why_stopped
from udair_platform.entities.alias import PREVIOUS
from udair_platform.entities.event import Event
from udair_platform.entities.failure_reasons import ENDINGS, UNKNOWN_ENDING
from udair_platform.entities.job import Job, JobState
from udair_platform.entities.prices import Prices
from udair_platform.entities.version import VersionState
from udair_platform.entities.webhook import WebhookState
from udair_platform.keys import Claims
from udair_platform.services import budgets
from udair_platform.services.canaries import WORSE
from udair_platform.services.observed import Replica
from udair_platform.services.reports import BLOCKED, DRIFTED
from udair_platform.services.sources import READABLE, UNREADABLE
from udair_platform.state.repositories import State

MOST = 200  # of a kind; a page shows fewer
_RECENT, _LONG = timedelta(days=2), timedelta(days=90)
_LOOKED_AT = 200  # newest jobs
_OF_SOURCES = ("ACCESS_DENIED", "SOURCE_NOT_FOUND", "DATA_EMPTY")
_ORDER = {kind: place for place, kind in enumerate(get_args(Kind))}


@dataclass(frozen=True)
class _Question:
    """Who asks, when; and the newest job of each domain that had one lately, by its id."""

    state: State
    claims: Claims
    now: datetime
    prices: Prices
    jobs: Mapping[str, Job]

    def names(self, ids: Iterable[str]) -> dict[str, str]:
        """Living domains that the key reaches, by id."""
        found = self.state.domains.names(self.claims.tenant, ids)
        return {id: name for id, name in found.items() if self.claims.reaches(name)}


def of_tenant(
    state: State, claims: Claims, now: datetime, gone: Sequence[Replica] = (), *, prices: Prices = Prices()
) -> list[Concern]:
    """Everything that the bearer of a key should look at, the most urgent kind first.

    Args:
        gone: Replicas that went without saying so; for the operator.
        prices: What a budget of money is counted by.
    """
    jobs = {job.domain_id: job for job in reversed(state.jobs.page(claims.tenant, size=_LOOKED_AT))}
    asked = _Question(state, claims, now, prices, jobs)
    unreadable = _unreadable(asked)
    concerns = [
        *_traffic(asked),
        *_failures(asked, {concern.domain for concern in unreadable}),
        *unreadable,
        *_versions(asked),
        *_stopped(asked),
        *_budget(asked),
        *(_gone(replica, now) for replica in gone),
        *_webhooks(asked),
    ]
    return sorted(concerns, key=lambda concern: (_ORDER[concern.kind], concern.domain or ""))


def _concern(kind: Kind, name: str, message: str, step: str, page: str = "") -> Concern:
    return Concern(kind=kind, domain=name, message=message, step=step, link=f"/console/domains/{name}{page}")


def _versions(asked: _Question) -> list[Concern]:
    """The newest version of each domain, where somebody has to act on it."""
    state, tenant = asked.state, asked.claims.tenant
    unsettled = [one for one in state.versions.unsettled(tenant, size=MOST) if asked.claims.reaches(one.name)]
    base = state.bases.current()
    aliases = state.aliases.of_domains(tenant, [version.domain_id for version in unsettled])
    found = []
    for version in unsettled:
        said, page = f"{version.name}@{version.number}", f"/versions/{version.number}"
        if version.state == VersionState.PENDING_APPROVAL:
            message, step = (
                "waits for a decision: the gate could not say.",
                "Look at its pictures, then approve or reject it.",
            )
            found.append(_concern("review", version.name, f"{said} {message}", step, page))
        elif version.state == VersionState.REJECTED:
            if version.verdict == "FAILED" and version.reviewed_by is None:  # a person who said no knows it
                step = "See which check did not hold, and adapt with other images or settings."
                found.append(
                    _concern("refused", version.name, f"{said} was refused by the gate; it never serves.", step, page)
                )
        else:
            returned = any(one.name == PREVIOUS and one.version == version.number for one in aliases[version.domain_id])
            shared = version.number in {share.version for share in version.traffic.shares}
            if base is not None and version.base_digest == base.digest and not returned and not shared:
                step = f"Look at its pictures, then: udair promote {said}"
                found.append(
                    _concern("waiting", version.name, f"{said} passed the gate and waits to be promoted.", step, page)
                )
    return found


def _stopped(asked: _Question) -> list[Concern]:
    """Domains whose promoted version does not answer, and those that are served as they came."""
    base = asked.state.bases.current()
    if base is None:
        return []
    tenant, only = asked.claims.tenant, asked.claims.domains
    found = []
    for item in asked.state.routing.troubled(tenant, base.digest, names=only, size=MOST):
        if why := why_stopped(item, base):
            found.append(_concern("out of use", item.name, f"{item.name}: {why}.", "Adapt it again."))
        elif not item.number:
            step = "Adapt it, or look at what the base model makes of it."
            found.append(
                _concern("as it came", item.name, f"{item.name} is served as it came: {item.passthrough}.", step)
            )
    return found


def _traffic(asked: _Question) -> list[Concern]:
    """Blocked routes, drift, and canaries that were taken away, once for each domain."""
    found = []
    for kind in (BLOCKED, DRIFTED, WORSE):
        events = asked.state.events.since(asked.claims.tenant, kind, asked.now - _RECENT, size=MOST)
        newest = {event.name: event for event in reversed(events) if asked.claims.reaches(event.name)}
        for name, event in newest.items():
            if kind == DRIFTED:
                message = f"{name} sees other images than its adapter was made of."
                found.append(_concern("drift", name, message, "Adapt it to its images of now."))
                continue
            if kind == WORSE:
                found.append(_canary(name, event))
                continue
            message = f"{name}: a replica cannot load version {event.data.get('version')}."
            serving = event.data.get("serving")
            step = f"{f'Version {serving}' if serving else 'The base model'} serves; roll back, or run a new job."
            found.append(_concern("blocked", name, message, step))
    return found


def _canary(name: str, event: Event) -> Concern:
    told = event.data
    what = "leaves more grain" if told.get("figure") == "grain" else "moves the light further"
    message = (
        f"{name}: canary {told.get('version')} was taken away. It {what} than version {told.get('champion')}: "
        f"{told.get('measured')} of 255 levels ({told.get('images')} pictures), not {told.get('champion_measured')} "
        f"({told.get('champion_images')})."
    )
    step = "Compare their pictures, or give it a shadow's share before it answers again."
    return _concern("canary", name, message, step, f"/versions/{told.get('version')}")


def _unreadable(asked: _Question) -> list[Concern]:
    """Sources that the last look, a check's or a job's, could not read."""
    state, tenant = asked.state, asked.claims.tenant
    last: dict[str, Event] = {}
    for kind in (UNREADABLE, READABLE):
        for event in state.events.since(tenant, kind, asked.now - _LONG, size=MOST):
            if event.domain_id and (event.domain_id not in last or last[event.domain_id].seq < event.seq):
                last[event.domain_id] = event
    names = asked.names({*last, *asked.jobs})
    found = []
    for id, name in names.items():
        seen, job = last.get(id), asked.jobs.get(id)
        refused = seen is not None and seen.kind == UNREADABLE
        told, step = str(seen.data.get("detail", "")) if seen else "", f"Mend it, then: udair domain check {name}"
        if job is not None and job.done and (seen is None or job.updated_time > seen.time):
            refused = job.reason in _OF_SOURCES
            happened, step = ENDINGS.get(job.reason or "", UNKNOWN_ENDING)
            told = job.detail or happened
        if refused:
            found.append(_concern("unreadable", name, f"The images of {name} cannot be read: {told}", step))
    return found


def _failures(asked: _Question, unreadable: set[str | None]) -> list[Concern]:
    """The newest job of each domain, where it went wrong lately."""
    found = []
    for id, name in asked.names(asked.jobs).items():
        job = asked.jobs[id]
        lately = job.updated_time >= asked.now - _RECENT
        if job.state not in (JobState.FAILED, JobState.EXPIRED) or not lately or name in unreadable:
            continue
        happened, step = ENDINGS.get(job.reason or "", UNKNOWN_ENDING)
        message = f"A job of {name} {job.state.lower()} ({job.reason}). {happened}"
        found.append(_concern("failed", name, message, step, f"/jobs/{job.id}"))
    return found


def _budget(asked: _Question) -> list[Concern]:
    """The tenant's budget of this month, once it is near or spent: for keys of the whole tenant."""
    if asked.claims.domains is not None:
        return []
    tenant = asked.claims.tenant
    found = budgets.Ledger(asked.state, asked.now, asked.prices).status(tenant)
    items = [item for item in found.items if item.state != "open"]
    if not items:
        return []
    said = budgets.in_words(items, found)
    until = f"until {found.to_time:%Y-%m-%d %H:%M} UTC"
    if found.state == "spent":
        message = (
            f"The budget of {found.from_time:%B %Y} is spent: {said}. No new job starts {until}; images are restored."
        )
    else:
        message = (
            f"The budget of {found.from_time:%B %Y} is nearly spent: {said}. Once it is, no new job starts {until}."
        )
    step = "An admin raises it: udair budget set --help, or here under Usage."
    return [Concern(kind="budget", message=message, step=step, link="/console/usage")]


def _gone(replica: Replica, now: datetime) -> Concern:
    silent_min = (now.timestamp() - replica.time) / 60
    return Concern(
        kind="replica",
        message=f"Replica {replica.id} went: it was last heard {silent_min:.0f} min ago, and did not say that it ends.",
        step="Another takes its place by itself; if not, the log of serving says why.",
        link="/console/serving",
    )


def _webhooks(asked: _Question) -> list[Concern]:
    if not asked.claims.allows("admin") or asked.claims.domains is not None:
        return []
    return [
        Concern(
            kind="webhook",
            message=f"Webhook {hook.url.partition('?')[0]} is disabled: {hook.last_error[:100]}",
            step="Mend what listens there, then enable it again.",
            link="/console/keys",
        )
        for hook in asked.state.webhooks.page(asked.claims.tenant)
        if hook.state is WebhookState.DISABLED
    ]
