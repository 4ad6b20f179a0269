"""Domains made, changed and deleted, each with its event and its place in the routes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from udair.config import check_aim
from udair.errors import ConfigError
from udair_platform.contract.domains import GateRules, Schedule
from udair_platform.entities import domain as entity
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import SOURCE_VERSION, Domain, DomainState
from udair_platform.entities.intent import Intent
from udair_platform.entities.names import check_domain_name, new_id
from udair_platform.errors import FieldError, Invalid, InvalidState
from udair_platform.services import gate as gate_rules
from udair_platform.services import schedules, tenants
from udair_platform.services.change import Change
from udair_platform.services.source_uri import check_apart, check_references, check_role, check_source_uri


def create(
    tx: Change,
    *,
    tenant: str,
    name: str,
    source_uri: str,
    gate: GateRules = GateRules(),
    description: str = "",
    intent: Intent = Intent(),
    schedule: Schedule = Schedule(),
    source_role_arn: str | None = None,
    folders: Sequence[Path] = (),
    uploaded: bool = False,
    role_required: bool = False,
    id: str | None = None,
) -> Domain:
    """A new domain, served by the base model alone (version 0) until a version is promoted.

    Args:
        folders: In which a `file://` source, and such references, may be.
        uploaded: The source is where the platform itself keeps what is uploaded; nobody else's may be in its store.
        role_required: Accept no bucket that would be read with the platform's own rights.
        id: An id derived from an idempotency key: the living domain of that id is returned as it is.

    Raises:
        Invalid: The name, a place, its role, the aim, a gate limit or the schedule is not acceptable; points at it.
        AlreadyExists: The tenant has a living domain of that name.
        QuotaExceeded: The tenant has as many domains as it may.
    """
    state = tx.state
    check_domain_name(name)
    check_role(source_role_arn, source_uri, required=role_required)
    if not uploaded:
        source_uri = check_source_uri(source_uri, folders=folders)
        check_apart(source_uri, tx.store.uri)
    intent = _check_intent(tx, intent, source_role_arn, folders=folders, role_required=role_required)
    gate_rules.policy_of(gate)
    next_run_time = schedules.next_time(schedule, tx.now)
    known = state.domains.living(tenant, id) if id else None
    if known is not None:
        return known
    tenants.check_room_for_domain(tx, tenant)
    created = Domain(
        id=id if id and not state.domains.exists(id) else new_id("d"),
        tenant=tenant,
        name=name,
        source_uri=source_uri,
        gate=gate,
        description=description,
        **vars(intent),
        schedule=schedule,
        next_run_time=next_run_time,
        scheduled_by=tx.actor if schedule != Schedule() else "",
        source_role_arn=source_role_arn,
        external_id=secrets.token_hex(16),
        created_time=tx.now,
        updated_time=tx.now,
    )
    state.domains.add(created)
    state.aliases.move(
        created, CHAMPION, SOURCE_VERSION, expected=None, actor=tx.actor, reason="domain created", now=tx.now
    )
    tx.record(created, "domain.created", {"source_uri": source_uri, **vars(intent)})
    tx.routes_changed(created)
    return created


def change(
    tx: Change,
    domain: Domain,
    *,
    gate: GateRules | None = None,
    description: str | None = None,
    intent: Intent | None = None,
    schedule: Schedule | None = None,
    folders: Sequence[Path] = (),
    role_required: bool = False,
) -> Domain:
    """`domain` with other gate rules, intent, schedule or description. Versions keep the verdicts they have.

    Another intent puts every version that was made for the one before out of use, until the domain is adapted again.

    Args:
        folders, role_required: As for `create`.

    Raises:
        Invalid: A place, the aim, a gate limit or the schedule is not acceptable; points at it.
        StaleWrite: Somebody else changed it first.
    """
    if gate is not None:
        gate_rules.policy_of(gate)
    intent = intent or domain.intent
    if intent != domain.intent:
        intent = _check_intent(tx, intent, domain.source_role_arn, folders=folders, role_required=role_required)
    moved = replace(
        domain,
        gate=gate or domain.gate,
        description=domain.description if description is None else description,
        **vars(intent),
        passthrough=domain.passthrough if intent.tone == domain.tone else "",
        updated_time=tx.now,
    )
    if schedule is not None and schedule != domain.schedule:
        moved = replace(moved, scheduled_by=tx.actor)
    if schedule is not None:
        moved = replace(moved, schedule=schedule, next_run_time=schedules.next_time(schedule, tx.now))
    saved = tx.state.domains.save(moved)
    data = {"gate": saved.gate.model_dump(), "schedule": saved.schedule.model_dump(), **vars(saved.intent)}
    tx.record(saved, "domain.changed", data)
    if saved.intent != domain.intent:
        tx.routes_changed(saved)
    return saved


def _check_intent(
    tx: Change, intent: Intent, role_arn: str | None, *, folders: Sequence[Path], role_required: bool
) -> Intent:
    try:
        check_aim(intent.tone, intent.tone_aim)
    except ConfigError as error:
        raise Invalid(str(error), errors=[FieldError("/tone_aim", str(error))]) from error
    if intent.reference_uri is None:
        return intent
    uri = check_references(intent.reference_uri, role_arn, tx.store.uri, folders=folders, required=role_required)
    return replace(intent, reference_uri=uri)


def judge_base(tx: Change, domain: Domain, loses: str) -> Domain:
    """Serve `domain` as it came while the base model loses against doing nothing there, or restore it again.

    Args:
        loses: Why it loses; empty if it does not.
    """
    if loses == domain.passthrough:
        return domain
    saved = tx.state.domains.save(replace(domain, passthrough=loses, updated_time=tx.now))
    tx.record(saved, "domain.passthrough" if loses else "domain.restored", {"reason": loses})
    tx.routes_changed(saved)
    return saved


def delete(tx: Change, domain: Domain) -> Domain:
    """End `domain`: it is no longer served and its name becomes free; its history stays.

    Raises:
        InvalidState: A job of it is not finished.
    """
    running = tx.state.jobs.unfinished(domain.tenant, domain_id=domain.id)
    if running:
        raise InvalidState(
            f"Domain {domain.name!r} has {len(running)} unfinished jobs, e.g. {running[0].id}. "
            "Cancel them first: `udair job cancel JOB`."
        )
    deleted = tx.state.domains.save(entity.advance(domain, DomainState.DELETED, now=tx.now))
    tx.record(deleted, "domain.DELETED")
    tx.routes_changed(deleted)
    return deleted
