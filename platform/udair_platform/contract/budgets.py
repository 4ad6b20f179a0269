"""What a tenant may use in a calendar month, and how much of that it has used."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from udair_platform.contract.value import Value

Item = Literal["images", "job_s", "money"]
Standing = Literal["open", "warned", "spent"]
_MOST = 2**53  # that every client counts to


class Budget(Value):
    """The most that a tenant wants to use in a calendar month (UTC); null is no limit."""

    images: int | None = Field(None, gt=0, le=_MOST, description="images restored by the data plane")
    job_s: float | None = Field(None, gt=0, le=_MOST, description="seconds that jobs run, each on the GPU it reserves")
    money: float | None = Field(None, gt=0, le=_MOST, description="cost of jobs and of model time, by the set prices")
    warn_share: float = Field(0.8, gt=0, le=1, description="share of a limit from which on the tenant is warned")

    def limit(self, item: Item) -> float | None:
        """The limit on `item`."""
        limit: float | None = getattr(self, item)
        return limit


class BudgetItem(Value):
    """What was used of one thing in the month; spent once `used` is at least `limit`."""

    item: Item
    used: float
    limit: float | None = None
    state: Standing


class BudgetStatus(Budget):
    """A tenant's budget and what it has used of it since `from_time`; at `to_time` the next month begins."""

    state: Standing = Field(description="spent: no new job starts, images are served as before")
    items: list[BudgetItem]
    currency: str = Field("", description="of money, where the operator has set prices")
    from_time: datetime
    to_time: datetime
