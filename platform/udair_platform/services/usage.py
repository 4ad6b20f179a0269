"""What each domain of a tenant has used: jobs of the last days, and images since the replicas began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from udair_jobs.storage import Storage
from udair_platform.entities.prices import Prices
from udair_platform.services.observed import ReplicaObservations, ReplicaReports
from udair_platform.settings import Settings
from udair_platform.state.database import Database

DAYS = 30
_EVERY = 100_000


@dataclass(frozen=True)
class Use:
    """One domain.

    Attributes:
        jobs, job_s: Jobs that ended in the last `DAYS` days, and how long they ran.
        seen: Restored images, since the replicas began.
    """

    name: str
    jobs: int
    job_s: float
    seen: ReplicaObservations


@dataclass(frozen=True)
class TenantUsage:
    """Domains that have used anything, those that used most first; and jobs of domains that are gone."""

    uses: list[Use]
    gone_jobs: int
    gone_s: float


def prices_of(settings: Settings) -> Prices:
    """The operator's prices; where none is set, nothing costs anything."""
    return Prices(settings.price_per_job_hour, settings.price_per_model_hour, settings.price_currency)


def of_tenant(
    database: Database, store: Storage, tenant: str, now: datetime, *, only: Sequence[str] | None = None
) -> TenantUsage:
    """The usage of a tenant; of the domains named `only`, where they are given.

    Raises:
        StoreDown: The store does not answer.
    """
    with database.read() as state:
        ran = state.jobs.seconds(tenant, now - timedelta(days=DAYS))
        names = {d.id: d.name for d in state.domains.page(tenant, size=_EVERY, names=only)}
    seen = ReplicaReports(store, now).of_tenant(tenant)
    uses = [
        Use(name, *ran.get(id, (0, 0.0)), seen.get(name, ReplicaObservations()))
        for id, name in names.items()
        if id in ran or name in seen
    ]
    uses.sort(key=lambda use: (-use.job_s - use.seen.forward_s, use.name))
    gone = [spent for id, spent in ran.items() if id not in names] if only is None else []
    return TenantUsage(uses, sum(jobs for jobs, _ in gone), sum(seconds for _, seconds in gone))
