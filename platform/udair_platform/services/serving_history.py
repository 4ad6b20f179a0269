"""What served a domain when, why, and approved by whom: the moves of its alias, its traffic, its intent and the base model, put together.

A base model that was put back counts from when it was registered first.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from udair_platform.contract.domains import Share, Traffic
from udair_platform.contract.serving_history import HistoryCheck, ServedHistory, ServedSpan
from udair_platform.documents.route_entries import out_of_use
from udair_platform.entities.alias import CHAMPION, AliasChange
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.event import Event
from udair_platform.entities.intent import Intent
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import NotFound
from udair_platform.services.reports import BLOCKED
from udair_platform.signing import Purpose, seal, unseal
from udair_platform.state.repositories import State

_KINDS = ("domain.created", "domain.changed", "domain.passthrough", "domain.restored", "route.changed", BLOCKED)
_MOST_MOVES = 100_000
_Move = AliasChange | Event | RegisteredModel


@dataclass(frozen=True)
class _Now:
    """Everything that decides what answers, at one moment."""

    champion: AliasChange | None = None
    canary: Share | None = None
    canary_by: tuple[str, str] = ("", "")
    base: RegisteredModel | None = None
    intent: Intent = Intent()
    passthrough: str = ""

    def after(self, move: _Move) -> _Now:
        if isinstance(move, RegisteredModel):
            return replace(self, base=move)
        if isinstance(move, AliasChange):
            overtaken = self.canary is not None and self.canary.version == move.to_version
            return replace(self, champion=move, canary=None if overtaken else self.canary)
        if move.kind == "route.changed":
            share = Traffic.model_validate(move.data["to"]).canary
            return replace(self, canary=share, canary_by=(move.actor, move.cause))
        if move.kind in ("domain.created", "domain.changed"):
            intent = _intent(move, self.intent)
            return replace(self, intent=intent, passthrough=self.passthrough if intent.tone == self.intent.tone else "")
        return replace(self, passthrough=str(move.data.get("reason", "")) if move.kind == "domain.passthrough" else "")


def of_domain(state: State, domain: Domain, *, since: datetime, until: datetime) -> ServedHistory:
    """What served `domain` from one moment until before another."""
    changes = state.aliases.history(domain.tenant, domain.id, CHAMPION, size=_MOST_MOVES)
    events = state.events.of_kinds(domain.tenant, domain.id, _KINDS)
    # Of one moment: the base model before the domain, the domain before what happens to it.
    moves: list[_Move] = [*state.bases.all(), *(event for event in events if event.kind != BLOCKED)]
    moves = sorted([*moves, *reversed(changes)], key=lambda move: (_time(move), isinstance(move, AliasChange)))
    numbers = {change.to_version for change in changes} | {_blocked(event)[0] for event in events}
    numbers |= {share.version for event in events if (share := _canary(event)) is not None}
    made = state.versions.many(domain.tenant, [(domain.id, number) for number in sorted(numbers)])
    versions = {number: version for (_, number), version in made.items()}
    known = any(event.kind == "domain.changed" or "tone" in event.data for event in events)
    now = _Now(intent=Intent() if known else domain.intent)
    open_spans: dict[str, ServedSpan] = {}
    spans: list[ServedSpan] = []
    for place, move in enumerate(moves):
        now, time = now.after(move), _time(move)
        if time >= until:
            break
        if place + 1 < len(moves) and _time(moves[place + 1]) == time:
            continue  # what happens in one moment is one change
        rows = {row.role: row for row in _rows(now, domain, versions, time)}
        for role, before in list(open_spans.items()):
            if role not in rows or not _goes_on(before, rows[role]):
                spans.append(before.model_copy(update={"to_time": time}))
                del open_spans[role]
        open_spans = rows | open_spans
    spans += open_spans.values()
    spans += [_unloadable(event, versions, domain) for event in events if event.kind == BLOCKED and event.time < until]
    spans = [span for span in spans if span.to_time is None or span.to_time > since]
    spans = [span for span in spans if span.role != "blocked" or span.from_time >= since]
    ordered = sorted(spans, key=lambda span: (span.from_time, span.role))
    return ServedHistory(tenant=domain.tenant, domain=domain.name, from_time=since, to_time=until, spans=ordered)


def as_json(history: ServedHistory) -> bytes:
    """The export as JSON."""
    return json.dumps(history.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"


def as_csv(history: ServedHistory) -> bytes:
    """The export as CSV, a line a stretch of time. What a spreadsheet would take for a formula has a quote before it."""
    written = io.StringIO()
    rows = csv.writer(written)
    names = list(ServedSpan.model_fields)
    rows.writerow(["tenant", "domain", *names])
    for span in history.model_dump(mode="json")["spans"]:
        rows.writerow([history.tenant, history.domain, *(_cell(span[name]) for name in names)])
    return written.getvalue().encode()


def signature(signing_key: bytes, history: ServedHistory, data: bytes, now: datetime) -> str:
    """What proves later that `data` is the platform's own export."""
    digest = hashlib.sha256(data).hexdigest()
    body = json.dumps([history.tenant, history.domain, digest, now.timestamp()])
    return seal(signing_key, Purpose.EXPORT, body.encode())


def checked(signing_keys: Sequence[bytes], text: str, sha256: str, *, tenant: str) -> HistoryCheck:
    """Whether one of `signing_keys` signed the export with this digest.

    Raises:
        NotFound: It is another tenant's.
    """
    for key in signing_keys:
        body = unseal(key, Purpose.EXPORT, text.strip())
        if body is None:
            continue
        whose, domain, digest, time = json.loads(body)
        if whose != tenant:
            raise NotFound("The signature is of no export of this tenant.")
        signed = datetime.fromtimestamp(time, UTC)
        if digest == sha256.lower():
            detail = (
                f"The platform exported this for {domain} at {signed:%Y-%m-%d %H:%M:%S} UTC; not a byte is another."
            )
            return HistoryCheck(genuine=True, domain=domain, time=signed, detail=detail)
        detail = (
            f"The signature is of an export for {domain}, and the file is not that one: it was changed, or is another."
        )
        return HistoryCheck(genuine=False, domain=domain, time=signed, detail=detail)
    detail = "This platform did not sign it, or not with a signing key that it still has."
    return HistoryCheck(genuine=False, domain=None, time=None, detail=detail)


def _rows(then: _Now, domain: Domain, versions: Mapping[int, AdapterVersion], time: datetime) -> Iterable[ServedSpan]:
    """What answers at one moment."""
    if then.champion is None:
        return
    share = then.canary.percent if then.canary else 0.0
    wanted = replace(domain, **vars(then.intent))
    by_champion = (then.champion.actor, then.champion.reason)
    yield _row("champion", then.champion.to_version, 100 - share, by_champion, then, wanted, versions, time)
    if then.canary is not None:
        yield _row("canary", then.canary.version, share, then.canary_by, then, wanted, versions, time)


def _row(
    role: Any,
    number: int,
    percent: float,
    by: tuple[str, str],
    then: _Now,
    wanted: Domain,
    versions: Mapping[int, AdapterVersion],
    time: datetime,
) -> ServedSpan:
    version = versions.get(number)
    why = out_of_use(wanted, version, then.base) if version else ""
    answers = version if version is not None and not why else None
    as_it_came = then.passthrough if answers is None else ""
    return ServedSpan(
        role=role,
        from_time=time,
        to_time=None,
        version=number,
        answered=answers.number if answers else SOURCE_VERSION,
        percent=percent,
        restoration="none" if as_it_came else "model",
        note="; ".join(part for part in (why, as_it_came) if part),
        actor=by[0],
        reason=by[1],
        adapter_digest=answers.adapter_digest if answers else None,
        base_digest=then.base.digest if then.base else "",
        **_decided(version),
    )


def _unloadable(event: Event, versions: Mapping[int, AdapterVersion], domain: Domain) -> ServedSpan:
    number, serving = _blocked(event)
    instead = versions.get(serving)
    return ServedSpan(
        role="blocked",
        from_time=event.time,
        to_time=None,
        version=number,
        answered=serving,
        percent=0.0,
        restoration="model",
        note=str(event.data.get("reason", "")),
        actor=event.actor,
        reason=event.cause,
        adapter_digest=instead.adapter_digest if instead else None,
        base_digest=instead.base_digest if instead else "",
        **_decided(versions.get(number)),
    )


def _decided(version: AdapterVersion | None) -> dict[str, Any]:
    names = ("verdict", "job_id", "reviewed_by", "reviewed_time", "review_reason")
    return {name: getattr(version, name) if version else "" if name == "review_reason" else None for name in names}


def _goes_on(before: ServedSpan, after: ServedSpan) -> bool:
    return before == after.model_copy(update={"from_time": before.from_time})


def _intent(event: Event, before: Intent) -> Intent:
    held: dict[str, Any] = {name: event.data.get(name) for name in vars(before)}
    return Intent(**held) if "tone" in event.data else before


def _canary(event: Event) -> Share | None:
    return Traffic.model_validate(event.data["to"]).canary if event.kind == "route.changed" else None


def _blocked(event: Event) -> tuple[int, int]:
    """The version that could not be loaded, and the one that answered; zeros for another event."""
    if event.kind != BLOCKED:
        return 0, 0
    return int(event.data["version"]), int(event.data["serving"])


def _time(move: _Move) -> datetime:
    return move.created_time if isinstance(move, RegisteredModel) else move.time


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
