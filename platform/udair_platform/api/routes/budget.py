"""What the tenant may use in a calendar month, and how much of that it has used."""

from __future__ import annotations

from fastapi import APIRouter

from udair_platform.api.context import Ctx
from udair_platform.api.principal import Admin, TenantReader
from udair_platform.api.schemas import BudgetPut
from udair_platform.contract.budgets import Budget, BudgetStatus
from udair_platform.services import budgets

router = APIRouter(prefix="/v1/budget", tags=["platform"])


@router.get("")
def get_budget(context: Ctx, who: TenantReader) -> BudgetStatus:
    """The tenant's budget, and what this month (UTC) has used of it; for keys of the whole tenant."""
    with context.database.read() as state:
        return budgets.Ledger(state, context.clock(), context.prices).status(who.tenant)


@router.put("")
def put_budget(body: BudgetPut, context: Ctx, who: Admin) -> BudgetStatus:
    """Set the budget; a limit that is left out is taken away. Once one is spent, no new job starts in that month."""
    with context.change(who) as tx:
        return budgets.change(tx, who.tenant, Budget.model_validate(body.model_dump()))


@router.delete("")
def delete_budget(context: Ctx, who: Admin) -> BudgetStatus:
    """Take every limit away; what was used is counted on."""
    with context.change(who) as tx:
        return budgets.change(tx, who.tenant, Budget())
