"""What the tenant's domains have used."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import DomainReader
from udair_platform.api.views.sources import DomainUsageView, TenantUsageView
from udair_platform.services import usage

router = APIRouter(prefix="/v1/usage", tags=["platform"])


@router.get("")
def get_tenant_usage(context: Ctx, who: DomainReader) -> TenantUsageView:
    """Domains that have used anything, those that used most first: jobs of 30 days, images since the replicas began."""
    found = usage.of_tenant(context.database, context.store, who.tenant, context.clock(), only=who.claims.domains)
    return TenantUsageView(days=usage.DAYS, domains=[DomainUsageView.of_use(use) for use in found.uses])
