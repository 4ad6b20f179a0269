"""The first page: what needs attention now, what is under way, and what happened last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from udair_platform.api.context import Ctx
from udair_platform.api.principal import Principal
from udair_platform.console import wording
from udair_platform.console.domains import count, names_of
from udair_platform.console.rendering import page
from udair_platform.console.session import Reader
from udair_platform.entities.event import Event
from udair_platform.entities.job import Job, JobState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.entities.webhook import Webhook, WebhookState
from udair_platform.services.reports import BLOCKED, DRIFTED

router = APIRouter()
_LOOKED_AT = 100
_RECENT = timedelta(days=2)


@dataclass(frozen=True)
class Attention:
    """Something that somebody should look at.

    Attributes:
        kind: Review, failed, blocked, drift or webhook.
        step: What to do.
    """

    kind: str
    text: str
    step: str
    link: str


@router.get("/")
def overview(request: Request, context: Ctx, visitor: Reader) -> HTMLResponse:
    """What needs attention now, and what happened last."""
    who, now = visitor.principal, context.clock()
    with context.database.read() as state:
        recent = state.jobs.page(who.tenant, size=_LOOKED_AT)
        waiting = state.versions.in_state(who.tenant, VersionState.PENDING_APPROVAL, size=20)
        names = names_of(state, who.tenant, [*(job.domain_id for job in recent), *(v.domain_id for v in waiting)])
        hooks = state.webhooks.page(who.tenant) if who.claims.allows("admin") and who.claims.domains is None else []
        routed = state.events.newest_first(who.tenant, noun="route", size=_LOOKED_AT)
        domains = count(state, who)
    recent = [job for job in recent if who.claims.reaches(names[job.domain_id])]
    concerns = [
        *_reviews(waiting, names, who),
        *_traffic([event for event in routed if event.time > now - _RECENT and who.claims.reaches(event.name)]),
        *_failures(recent, names, now),
        *_webhooks(hooks),
    ]
    running = [job for job in recent if not job.done]
    return page(
        request,
        "overview.html",
        visitor,
        concerns=concerns,
        recent=recent[:12],
        names=names,
        running=running,
        domains=domains,
    )


def _reviews(waiting: Sequence[AdapterVersion], names: dict[str, str], who: Principal) -> list[Attention]:
    return [
        Attention(
            "review",
            f"{names[v.domain_id]}@{v.number} waits for a decision: the gate could not say.",
            "Look at its pictures, then approve or reject it.",
            f"/console/domains/{names[v.domain_id]}/versions/{v.number}",
        )
        for v in waiting
        if who.claims.reaches(names[v.domain_id])
    ]


def _traffic(events: Sequence[Event]) -> list[Attention]:
    """Blocked routes and drift, once for each domain."""
    found: dict[tuple[str, str], Attention] = {}
    for event in events:
        link = f"/console/domains/{event.name}"
        if event.kind == BLOCKED:
            message = f"{event.name}: a replica cannot load version {event.data.get('version')}."
            step = f"It serves {event.data.get('serving') or 'the source model'}; roll back, or run a new job."
            found.setdefault((event.kind, event.name), Attention("blocked", message, step, link))
        elif event.kind == DRIFTED:
            message = f"{event.name} sees other images than its adapter was made of."
            found.setdefault(
                (event.kind, event.name), Attention("drift", message, "Adapt it to its images of now.", link)
            )
    return list(found.values())


def _failures(jobs: Sequence[Job], names: dict[str, str], now: datetime) -> list[Attention]:
    """The newest job of each domain, where it went wrong lately."""
    newest = {job.domain_id: job for job in reversed(jobs)}.values()
    found = []
    for job in newest:
        if job.state not in (JobState.FAILED, JobState.EXPIRED) or job.updated_time < now - _RECENT:
            continue
        happened, step = wording.ending(job.reason)
        name = names[job.domain_id]
        text = f"A job of {name} {job.state.lower()} ({job.reason}). {happened}"
        found.append(Attention("failed", text, step, f"/console/domains/{name}/jobs/{job.id}"))
    return found


def _webhooks(hooks: Sequence[Webhook]) -> list[Attention]:
    return [
        Attention(
            "webhook",
            f"Webhook {hook.url.partition('?')[0]} is disabled: {hook.last_error[:100]}",
            "Mend what listens there, then enable it again.",
            "/console/keys",
        )
        for hook in hooks
        if hook.state is WebhookState.DISABLED
    ]
