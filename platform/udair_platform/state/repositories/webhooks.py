"""Webhooks, in SQL."""

from __future__ import annotations

from sqlalchemy import func, select

from udair_platform.entities.webhook import Webhook, WebhookState
from udair_platform.errors import NotFound
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant, paged
from udair_platform.state.tables import WEBHOOKS

_THERE = WEBHOOKS.c.state != WebhookState.DELETED


class Webhooks(Repository):
    """A tenant's webhooks that are not deleted."""

    def add(self, webhook: Webhook) -> None:
        """Insert `webhook`."""
        self._insert(WEBHOOKS, webhook)

    def get(self, tenant: TenantScope, id: str) -> Webhook:
        """The webhook `id`.

        Raises:
            NotFound: There is none.
        """
        webhook = self.find(tenant, id)
        if webhook is None:
            raise NotFound(f"There is no webhook {id!r}.")
        return webhook

    def find(self, tenant: TenantScope, id: str) -> Webhook | None:
        """The webhook `id`, or None."""
        return self._one(Webhook, select(WEBHOOKS).where(in_tenant(WEBHOOKS, tenant), WEBHOOKS.c.id == id, _THERE))

    def page(self, tenant: TenantScope, *, after: int | None = None, size: int = 100) -> list[Webhook]:
        """Webhooks, oldest first."""
        where = (in_tenant(WEBHOOKS, tenant), _THERE)
        return self._all(Webhook, paged(WEBHOOKS, *where, after=after, size=size, newest_first=False))

    def count(self, tenant: str) -> int:
        """How many the tenant has."""
        where = (in_tenant(WEBHOOKS, tenant), _THERE)
        return self._connection.scalar(select(func.count()).select_from(WEBHOOKS).where(*where)) or 0

    def active(self) -> list[Webhook]:
        """Every tenant's that events are sent to."""
        statement = select(WEBHOOKS).where(WEBHOOKS.c.state == WebhookState.ACTIVE)
        return self._all(Webhook, statement.order_by(WEBHOOKS.c.seq))

    def save(self, webhook: Webhook) -> Webhook:
        """Write over what was read. Raises StaleWrite."""
        return self._save(WEBHOOKS, webhook, "id")
