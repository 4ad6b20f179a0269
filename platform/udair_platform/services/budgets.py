"""Budgets of tenants: what a calendar month (UTC) has used of them, warnings, and new jobs refused once one is spent.

A budget bounds what begins: images are restored whatever was spent, and a job that has begun to run goes on to its end,
so that a month may end above a limit. Writers come one after the other, so that of two jobs that are submitted at once
the second sees the first; but a job has used nothing before it runs, and several may begin with the last second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import get_args

from udair_platform.contract.budgets import Budget, BudgetItem, BudgetStatus, Item, Standing
from udair_platform.entities.prices import Prices
from udair_platform.entities.tenant import Tenant
from udair_platform.errors import BudgetSpent, FieldError, Invalid
from udair_platform.services.change import Change
from udair_platform.services.metering import month_of, name_of
from udair_platform.state.repositories import ALL_TENANTS, State, TenantScope

NOUN = "budget"
SET, CLEARED, WARNED, SPENT = "budget.set", "budget.cleared", "budget.warned", "budget.spent"
_LOOKED_BACK = 200
ITEMS: tuple[Item, ...] = get_args(Item)
STANDINGS: tuple[Standing, ...] = get_args(Standing)
_OPTIONS = {"images": "--images", "job_s": "--job-hours", "money": "--money"}


@dataclass(frozen=True)
class Used:
    """What a month has used by now."""

    images: int = 0
    job_s: float = 0.0
    forward_s: float = 0.0


@dataclass(frozen=True)
class Ledger:
    """What tenants have used of the month, as it is at one moment."""

    state: State
    now: datetime
    prices: Prices

    def status(self, tenant: str) -> BudgetStatus:
        """A tenant's budget, and what this month has used of it. Raises NotFound."""
        return self._status(self.state.tenants.get(tenant), self.used(tenant).get(tenant, Used()))

    def used(self, scope: TenantScope) -> dict[str, Used]:
        """What tenants have used since the month began; of those that used anything."""
        start, _ = month_of(self.now)
        ran = self.state.jobs.seconds_between(scope, start, self.now)
        served = self.state.served_months.in_month(scope, name_of(start))
        found = {}
        for tenant in ran.keys() | served.keys():
            images, forward_s = served.get(tenant, (0, 0.0))
            found[tenant] = Used(images, ran.get(tenant, 0.0), forward_s)
        return found

    def all_of(self) -> list[tuple[Tenant, BudgetStatus]]:
        """Every tenant that has a budget, with what it has used of it."""
        bounded = [tenant for tenant in self.state.tenants.all() if tenant.budget != Budget()]
        month = self.used(ALL_TENANTS) if bounded else {}
        return [(tenant, self._status(tenant, month.get(tenant.id, Used()))) for tenant in bounded]

    def spent(self, tenants: Collection[str]) -> dict[str, str]:
        """Those of the tenants that have spent a budget of this month, with the words for it."""
        bounded = [tenant for tenant in map(self.state.tenants.get, sorted(tenants)) if tenant.budget != Budget()]
        found = {tenant.id: self.status(tenant.id) for tenant in bounded}
        return {name: spent_in_words(name, one) for name, one in found.items() if one.state == "spent"}

    def news(self) -> Iterator[tuple[Tenant, str, BudgetItem]]:
        """Limits that are near or spent, and of which no event of this month says so."""
        for tenant, found in self.all_of():
            if found.state == "open":
                continue
            events = self.state.events.newest_first(tenant.id, noun=NOUN, size=_LOOKED_BACK)
            told = {
                (event.kind, event.data.get("item"), event.data.get("limit"))
                for event in events
                if event.time >= found.from_time
            }
            for item in found.items:
                kind = {"warned": WARNED, "spent": SPENT}.get(item.state)
                if kind is not None and (kind, item.item, item.limit) not in told:
                    yield tenant, kind, item

    def _status(self, tenant: Tenant, used: Used) -> BudgetStatus:
        budget, (start, end) = tenant.budget, month_of(self.now)
        figures: dict[Item, float] = {
            "images": used.images,
            "job_s": round(used.job_s, 3),
            "money": round(self.prices.cost(used.job_s, used.forward_s), 6),
        }
        items = [_item(item, figure, budget) for item, figure in figures.items()]
        worst = max((item.state for item in items), key=STANDINGS.index)
        return BudgetStatus.describe(
            budget, state=worst, items=items, currency=self.prices.currency, from_time=start, to_time=end
        )


def ledger_of(tx: Change) -> Ledger:
    """At the moment of a change."""
    return Ledger(tx.state, tx.now, tx.prices)


def change(tx: Change, tenant: str, budget: Budget) -> BudgetStatus:
    """Give a tenant this budget in place of the one it has; one without limits is none. What was spent stays spent.

    Raises:
        Invalid: It bounds money, and nothing has a price here.
        NotFound: There is no such tenant.
    """
    if budget.money is not None and not tx.prices.set:
        detail = (
            f"money is {budget.money:g}, and nothing has a price on this platform; expected no limit. Its operator sets "
            "UDAIR_PRICE_PER_JOB_HOUR or UDAIR_PRICE_PER_MODEL_HOUR; bound images or job_s until then."
        )
        raise Invalid(detail, errors=[FieldError("/money", detail)])
    known = tx.state.tenants.get(tenant)
    if budget != known.budget:
        tx.state.tenants.save(replace(known, budget=budget))
        bounded = any(budget.limit(item) is not None for item in ITEMS)
        data = {"before": known.budget.model_dump(), "now": budget.model_dump()}
        tx.record(known, SET if bounded else CLEARED, data, noun=NOUN)
    return ledger_of(tx).status(tenant)


def check_unspent(tx: Change, tenant: str) -> None:
    """Refuse a new job of a tenant that has spent a budget of this month.

    Raises:
        BudgetSpent: Says which, how much, and until when.
    """
    if why := ledger_of(tx).spent([tenant]).get(tenant):
        raise BudgetSpent(why)


def spent_in_words(tenant: str, found: BudgetStatus) -> str:
    """Which limits are spent, until when, and who may raise them."""
    spent = [item for item in found.items if item.state == "spent"]
    how = " ".join(f"{_OPTIONS[item.item]} N" for item in spent)
    return (
        f"Tenant {tenant!r} has spent its budget of {found.from_time:%B %Y} (UTC): {in_words(spent, found)}. Images are "
        f"restored as before; no new job starts until {found.to_time:%Y-%m-%d %H:%M} UTC, when the next month begins, "
        f"or until an admin of the tenant or the platform's operator raises the limit: `udair budget set {how}`."
    )


def in_words(items: list[BudgetItem], found: BudgetStatus) -> str:
    """``1000 of 1000 images, 5.2 of 5 h of jobs``."""
    return ", ".join(_item_in_words(item, found.currency) for item in items)


def record(tx: Change, tenant: Tenant, kind: str, item: BudgetItem) -> None:
    """Append the event that a limit is near or spent."""
    start, end = month_of(tx.now)
    data = item.model_dump() | {
        "warn_share": tenant.budget.warn_share,
        "month": name_of(start),
        "until": end.isoformat(),
    }
    tx.record(tenant, kind, data, noun=NOUN)


def _item(item: Item, figure: float, budget: Budget) -> BudgetItem:
    limit = budget.limit(item)
    standing: Standing = "open"
    if limit is not None and figure >= limit * budget.warn_share:
        standing = "spent" if figure >= limit else "warned"
    return BudgetItem(item=item, used=figure, limit=limit, state=standing)


def _item_in_words(item: BudgetItem, currency: str) -> str:
    limit = item.limit or 0.0
    if item.item == "images":
        return f"{item.used:.0f} of {limit:.0f} images"
    if item.item == "job_s":
        return f"{item.used / 3600:.3g} of {limit / 3600:.3g} h of jobs"
    return f"{item.used:.2f} of {limit:.2f} {currency or 'of money'}"
