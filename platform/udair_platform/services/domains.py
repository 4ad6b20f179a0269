"""Domains made, changed and deleted, each with its event and its place in the routes."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime

from udair_jobs.errors import InvalidKey
from udair_jobs.storage.location import parse
from udair_platform.documents import routes
from udair_platform.entities import domain as entity
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import SOURCE_VERSION, Domain, DomainState, GateRules, Schedule
from udair_platform.entities.names import check_domain_name, check_role_arn, check_source_uri, new_id
from udair_platform.entities.tenant import Quota
from udair_platform.errors import FieldError, Invalid, InvalidState
from udair_platform.services import gate, schedules, tenants
from udair_platform.state.repositories import State

_NEVER, _NO_LIMIT = Schedule(), Quota()


def create(
    state: State,
    *,
    tenant: str,
    name: str,
    source_uri: str,
    rules: GateRules,
    quota: Quota = _NO_LIMIT,
    description: str = "",
    schedule: Schedule = _NEVER,
    source_role_arn: str | None = None,
    allow_local: bool = False,
    store_uri: str | None = None,
    role_required: bool = False,
    actor: str,
    now: datetime,
    id: str | None = None,
) -> Domain:
    """A new domain, served by the source model (version 0) until a version is promoted.

    Args:
        quota: Limits of tenants that have none of their own.
        allow_local: Accept a `file://` source.
        store_uri: The platform's own store, which is nobody's source.
        role_required: Accept no bucket that would be read with the platform's own rights.
        id: An id derived from an idempotency key: the living domain of that id is returned as it is.

    Raises:
        Invalid: The name, the source, its role, a gate limit or the schedule is not acceptable; points at it.
        AlreadyExists: The tenant has a living domain of that name.
        QuotaExceeded: The tenant has as many domains as it may.
    """
    check_domain_name(name)
    check_source_uri(source_uri, allow_local=allow_local)
    _check_role(source_role_arn, source_uri, required=role_required)
    if store_uri is not None:
        check_apart(source_uri, store_uri)
    gate.policy_of(rules)
    next_run_time = schedules.next_time(schedule, now)
    known = state.domains.living(tenant, id) if id else None
    if known is not None:
        return known
    tenants.check_room_for_domain(state, tenant, quota)
    created = Domain(
        id=id if id and not state.domains.exists(id) else new_id("d"),
        tenant=tenant,
        name=name,
        source_uri=source_uri,
        gate=rules,
        description=description,
        schedule=schedule,
        next_run_time=next_run_time,
        source_role_arn=source_role_arn,
        external_id=secrets.token_hex(16),
        created_time=now,
        updated_time=now,
    )
    state.domains.add(created)
    state.aliases.move(
        tenant,
        created.id,
        CHAMPION,
        SOURCE_VERSION,
        expected=None,
        actor=actor,
        reason="domain created",
        now=now,
    )
    _record(state, created, "domain.created", actor=actor, now=now, data={"source_uri": source_uri})
    routes.changed(state)
    return created


def check_apart(source_uri: str, store_uri: str) -> None:
    """Refuse a source that overlaps with the platform's own store, which holds every tenant's results.

    Raises:
        Invalid: It does, or it names no place at all; points at /source_uri.
    """
    try:
        source, store = _steps(source_uri), _steps(store_uri)
    except InvalidKey as error:
        raise Invalid(str(error), errors=[FieldError("/source_uri", str(error))]) from error
    shared = min(len(source), len(store))
    if source[:shared] == store[:shared]:
        detail = f"source_uri {source_uri[:120]!r} overlaps with the platform's own store; expected a place of yours."
        raise Invalid(detail, errors=[FieldError("/source_uri", detail)])


def _steps(uri: str) -> tuple[str, ...]:
    place = parse(uri)
    if place.folder is not None:
        return ("file", *place.folder.resolve().parts[1:])
    return ("s3", str(place.bucket), *(step for step in place.prefix.split("/") if step))


def change(
    state: State,
    domain: Domain,
    *,
    rules: GateRules | None = None,
    description: str | None = None,
    schedule: Schedule | None = None,
    actor: str,
    now: datetime,
) -> Domain:
    """`domain` with other gate rules, schedule or description. Versions keep the verdicts they have.

    Raises:
        Invalid: A gate limit or the schedule is not acceptable; points at it.
        StaleWrite: Somebody else changed it first.
    """
    if rules is not None:
        gate.policy_of(rules)
    moved = replace(
        domain,
        gate=rules or domain.gate,
        description=domain.description if description is None else description,
        updated_time=now,
    )
    if schedule is not None:
        moved = replace(moved, schedule=schedule, next_run_time=schedules.next_time(schedule, now))
    saved = state.domains.save(moved)
    data: dict[str, object] = {"gate": saved.gate.to_dict(), "schedule": saved.schedule.to_dict()}
    _record(state, saved, "domain.changed", actor=actor, now=now, data=data)
    return saved


def delete(state: State, domain: Domain, *, actor: str, now: datetime) -> Domain:
    """End `domain`: it is no longer served and its name becomes free; its history stays.

    Raises:
        InvalidState: A job of it is not finished.
    """
    running = state.jobs.unfinished(domain.tenant, domain_id=domain.id)
    if running:
        raise InvalidState(
            f"Domain {domain.name!r} has {len(running)} unfinished jobs, e.g. {running[0].id}. "
            "Cancel them first: `udair job cancel JOB`."
        )
    deleted = state.domains.save(entity.advance(domain, DomainState.DELETED, now=now))
    _record(state, deleted, "domain.DELETED", actor=actor, now=now)
    routes.changed(state)
    return deleted


def _check_role(arn: str | None, source_uri: str, *, required: bool) -> None:
    if arn is None:
        if required and source_uri.startswith("s3://"):
            detail = (
                "source_role_arn is missing; this platform reads no bucket with its own rights. Name a role of yours."
            )
            raise Invalid(detail, errors=[FieldError("/source_role_arn", detail)])
        return
    check_role_arn(arn)
    if not source_uri.startswith("s3://"):
        detail = f"source_role_arn {arn} can read s3://bucket/prefix only; source_uri is {source_uri[:120]}."
        raise Invalid(detail, errors=[FieldError("/source_role_arn", detail)])


def _record(
    state: State,
    domain: Domain,
    kind: str,
    *,
    actor: str,
    now: datetime,
    data: dict[str, object] | None = None,
) -> None:
    state.record(
        tenant=domain.tenant,
        now=now,
        actor=actor,
        cause="request",
        noun="domain",
        name=domain.name,
        kind=kind,
        domain_id=domain.id,
        data=data,
    )
