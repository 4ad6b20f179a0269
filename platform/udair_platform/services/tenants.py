"""Tenants made, and what each may use."""

from __future__ import annotations

from dataclasses import replace

from udair_platform.entities.names import check_tenant_name
from udair_platform.entities.tenant import Quota, Tenant
from udair_platform.errors import AlreadyExists, QuotaExceeded
from udair_platform.services import api_keys
from udair_platform.services.change import Change
from udair_platform.settings import Settings
from udair_platform.state.repositories import State


def default_quota(settings: Settings) -> Quota:
    """The limits of tenants that have none of their own."""
    return Quota(
        settings.tenant_max_concurrent_jobs or None,
        settings.tenant_max_queued_jobs or None,
        settings.tenant_max_domains or None,
    )


def create(tx: Change, signing_key: bytes, name: str) -> tuple[Tenant, str]:
    """A new tenant, and the token of its admin key.

    Raises:
        Invalid: The name is not acceptable.
        AlreadyExists: There is a tenant of that name.
    """
    check_tenant_name(name)
    state = tx.state
    if state.tenants.find(name) is not None:
        raise AlreadyExists(f"Tenant {name!r} exists already. Choose another name.")
    state.tenants.ensure(name, now=tx.now)
    _, token = api_keys.create_key(tx, signing_key, tenant=name, name="admin", scopes=("admin",))
    return state.tenants.get(name), token


def limit(state: State, name: str, quota: Quota) -> Tenant:
    """Set the limits of a tenant that `quota` names; None leaves one as it is, 0 gives it back to the platform.

    Raises:
        NotFound: There is no such tenant.
    """
    known = state.tenants.get(name)

    def chosen(wanted: int | None, current: int | None) -> int | None:
        return current if wanted is None else wanted or None

    changed = replace(
        known,
        max_concurrent_jobs=chosen(quota.concurrent_jobs, known.max_concurrent_jobs),
        max_queued_jobs=chosen(quota.queued_jobs, known.max_queued_jobs),
        max_domains=chosen(quota.domains, known.max_domains),
    )
    state.tenants.save(changed)
    return changed


def check_room_for_job(tx: Change, tenant: str) -> None:
    """Refuse another job of a tenant that has as many unfinished ones as it may.

    Raises:
        QuotaExceeded: Says how many there are.
    """
    most = tx.state.tenants.get(tenant).quota(tx.quota).queued_jobs
    if most is not None and (count := tx.state.jobs.count_unfinished(tenant)) >= most:
        raise QuotaExceeded(
            f"Tenant {tenant!r} has {count} jobs that have not ended; at most {most} are kept. "
            "Wait for some to end, or cancel some: `udair job cancel JOB`."
        )


def check_room_for_domain(tx: Change, tenant: str) -> None:
    """Refuse another domain of a tenant that has as many as it may.

    Raises:
        QuotaExceeded: Says how many there are.
    """
    most = tx.state.tenants.get(tenant).quota(tx.quota).domains
    if most is not None and (count := tx.state.domains.count(tenant)) >= most:
        raise QuotaExceeded(f"Tenant {tenant!r} has {count} domains; at most {most} are kept. Delete some first.")
