"""The tenant's budget of a month."""

from __future__ import annotations

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.contract.budgets import BudgetStatus

_PATH = "/v1/budget"


class AsyncTenantBudget:
    """What the tenant may use in a calendar month (UTC). Once that is spent no new job starts; images are restored."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self) -> BudgetStatus:
        """The limits, and what this month has used of them."""
        return BudgetStatus.model_validate(await self._transport.json("GET", _PATH))

    async def set(
        self,
        *,
        images: int | None = None,
        job_s: float | None = None,
        money: float | None = None,
        warn_share: float = 0.8,
    ) -> BudgetStatus:
        """Set the limits; what is left out has none. For admins.

        Args:
            images: Images restored by the data plane.
            job_s: Seconds that jobs run.
            money: Cost of jobs and model time, by the operator's prices.
            warn_share: Share of a limit from which on there is an event, and a row in what needs attention.

        Raises:
            InvalidRequest: A limit is not above 0, or `money` where nothing has a price.
        """
        body = {"images": images, "job_s": job_s, "money": money, "warn_share": warn_share}
        return BudgetStatus.model_validate(await self._transport.json("PUT", _PATH, body=body))

    async def clear(self) -> BudgetStatus:
        """Take every limit away. For admins."""
        return BudgetStatus.model_validate(await self._transport.json("DELETE", _PATH))
