"""Webhooks."""

from __future__ import annotations

from datetime import datetime

from udair_platform.contract.value import Value


class Webhook(Value):
    """A webhook, and how its deliveries go."""

    id: str
    url: str
    kinds: list[str]
    description: str = ""
    state: str
    failures: int = 0
    failing_since: datetime | None = None
    not_before: datetime | None = None
    last_error: str = ""
    delivered_time: datetime | None = None
    behind: int = 0
    created_time: datetime
    updated_time: datetime

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, url={self.url!r}, state={self.state!r})"

    __str__ = __repr__


class SignedWebhook(Webhook):
    """A webhook and the secret that signs what it is sent: ``whsec_…``, as Standard Webhooks writes it."""

    secret: str
