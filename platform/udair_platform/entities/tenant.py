"""A tenant: who is isolated from whom, and how much of the platform it may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udair_platform.contract.budgets import Budget
from udair_platform.entities.text import TenantId


@dataclass(frozen=True)
class Quota:
    """What a tenant may use at once; None is no limit of its own.

    Attributes:
        concurrent_jobs: Jobs that run.
        queued_jobs: Jobs that have not ended.
        domains: Domains that are not deleted.
    """

    concurrent_jobs: int | None = None
    queued_jobs: int | None = None
    domains: int | None = None


@dataclass(frozen=True)
class Tenant:
    """One customer of the platform. A limit that is None is the platform's default; a budget is the tenant's own."""

    id: TenantId
    created_time: datetime
    max_concurrent_jobs: int | None = None
    max_queued_jobs: int | None = None
    max_domains: int | None = None
    budget: Budget = Budget()

    @property
    def tenant(self) -> str:
        """Whose it is: its own."""
        return self.id

    def quota(self, default: Quota) -> Quota:
        """Its limits, with the platform's where it has none of its own."""
        return Quota(
            default.concurrent_jobs if self.max_concurrent_jobs is None else self.max_concurrent_jobs,
            default.queued_jobs if self.max_queued_jobs is None else self.max_queued_jobs,
            default.domains if self.max_domains is None else self.max_domains,
        )
