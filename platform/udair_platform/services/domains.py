"""Domains made, changed and deleted, each with its event and its place in the routes."""

from __future__ import annotations

import secrets
from dataclasses import replace

from udair_platform.contract.domains import GateRules, Schedule
from udair_platform.entities import domain as entity
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.domain import SOURCE_VERSION, Domain, DomainState
from udair_platform.entities.names import check_domain_name, new_id
from udair_platform.errors import InvalidState
from udair_platform.services import gate as gate_rules
from udair_platform.services import schedules, tenants
from udair_platform.services.change import Change
from udair_platform.services.source_uri import check_apart, check_role, check_source_uri


def create(
    tx: Change,
    *,
    tenant: str,
    name: str,
    source_uri: str,
    gate: GateRules = GateRules(),
    description: str = "",
    schedule: Schedule = Schedule(),
    source_role_arn: str | None = None,
    allow_local: bool = False,
    apart_from_store: bool = True,
    role_required: bool = False,
    id: str | None = None,
) -> Domain:
    """A new domain, served by the base model alone (version 0) until a version is promoted.

    Args:
        allow_local: Accept a `file://` source.
        apart_from_store: Refuse a source inside the platform's own store, which is nobody's.
        role_required: Accept no bucket that would be read with the platform's own rights.
        id: An id derived from an idempotency key: the living domain of that id is returned as it is.

    Raises:
        Invalid: The name, the source, its role, a gate limit or the schedule is not acceptable; points at it.
        AlreadyExists: The tenant has a living domain of that name.
        QuotaExceeded: The tenant has as many domains as it may.
    """
    state = tx.state
    check_domain_name(name)
    check_source_uri(source_uri, allow_local=allow_local)
    check_role(source_role_arn, source_uri, required=role_required)
    if apart_from_store:
        check_apart(source_uri, tx.store.uri)
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
        schedule=schedule,
        next_run_time=next_run_time,
        source_role_arn=source_role_arn,
        external_id=secrets.token_hex(16),
        created_time=tx.now,
        updated_time=tx.now,
    )
    state.domains.add(created)
    state.aliases.move(
        created, CHAMPION, SOURCE_VERSION, expected=None, actor=tx.actor, reason="domain created", now=tx.now
    )
    tx.record(created, "domain.created", {"source_uri": source_uri})
    tx.routes_changed()
    return created


def change(
    tx: Change,
    domain: Domain,
    *,
    gate: GateRules | None = None,
    description: str | None = None,
    schedule: Schedule | None = None,
) -> Domain:
    """`domain` with other gate rules, schedule or description. Versions keep the verdicts they have.

    Raises:
        Invalid: A gate limit or the schedule is not acceptable; points at it.
        StaleWrite: Somebody else changed it first.
    """
    if gate is not None:
        gate_rules.policy_of(gate)
    moved = replace(
        domain,
        gate=gate or domain.gate,
        description=domain.description if description is None else description,
        updated_time=tx.now,
    )
    if schedule is not None:
        moved = replace(moved, schedule=schedule, next_run_time=schedules.next_time(schedule, tx.now))
    saved = tx.state.domains.save(moved)
    tx.record(saved, "domain.changed", {"gate": saved.gate.model_dump(), "schedule": saved.schedule.model_dump()})
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
    tx.routes_changed()
    return deleted
