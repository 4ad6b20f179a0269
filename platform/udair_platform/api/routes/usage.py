"""What the tenant's domains have used."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader
from udair_platform.contract.usage import DomainUsage, TenantUsage
from udair_platform.services import usage

router = APIRouter(prefix="/v1/usage", tags=["platform"])


@router.get("")
def get_tenant_usage(context: Ctx, who: DomainReader) -> TenantUsage:
    """Domains that have used anything, those that used most first: jobs of 30 days, images since the replicas began."""
    found = usage.of_tenant(context.database, context.store, who.tenant, context.clock(), only=who.claims.domains)
    return TenantUsage(days=usage.DAYS, domains=[described(use) for use in found.uses])


def described(use: usage.Use) -> DomainUsage:
    """What one domain has used, for whoever asks, here or in the console."""
    seen = use.seen
    return DomainUsage.describe(
        seen, domain=use.name, jobs=use.jobs, job_s=round(use.job_s, 1), forward_s=round(seen.forward_s, 4)
    )
