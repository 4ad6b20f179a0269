"""What needs somebody's attention now."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Context, Ctx
from udair_platform.api.principal import DomainReader, Principal
from udair_platform.contract.attention import Attention, Concern
from udair_platform.errors import StoreDown
from udair_platform.services import attention
from udair_platform.services.observed import Replica, ReplicaReports

router = APIRouter(prefix="/v1/attention", tags=["platform"])


@router.get("")
def get_attention(context: Ctx, who: DomainReader) -> Attention:
    """What somebody should look at, the most urgent first: what the console's first page shows."""
    return Attention(concerns=concerns(context, who))


def concerns(context: Context, who: Principal) -> list[Concern]:
    """The same, for whoever asks, here or in the console."""
    now = context.clock()
    gone: list[Replica] = []
    if who.tenant == context.settings.default_tenant and who.claims.domains is None:
        try:
            gone = ReplicaReports(context.store, now).gone(who.tenant)
        except StoreDown:  # readiness says so; what the database knows is told without it
            gone = []
    with context.database.read() as state:
        return attention.of_tenant(state, who.claims, now, gone, prices=context.prices)
