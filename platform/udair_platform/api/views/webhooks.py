"""What webhooks look like in replies."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from udair_platform.entities.webhook import Webhook


class WebhookView(BaseModel):
    """A webhook, and how its deliveries go."""

    id: str
    url: str
    kinds: list[str]
    description: str
    state: str
    failures: int
    failing_since: datetime | None
    next_try_time: datetime | None
    last_error: str
    delivered_time: datetime | None
    behind: int
    created_time: datetime
    updated_time: datetime

    @classmethod
    def of(cls, webhook: Webhook, newest: int) -> WebhookView:
        """The view of `webhook`; `newest` is the number of the last event of all."""
        return cls(
            id=webhook.id,
            url=webhook.url,
            kinds=list(webhook.kinds),
            description=webhook.description,
            state=webhook.state,
            failures=webhook.failures,
            failing_since=webhook.failing_since,
            next_try_time=webhook.not_before,
            last_error=webhook.last_error,
            delivered_time=webhook.delivered_time,
            behind=max(0, newest - webhook.cursor),
            created_time=webhook.created_time,
            updated_time=webhook.updated_time,
        )


class WebhookWithSecret(BaseModel):
    """A webhook and the secret that signs what it is sent: `whsec_…`, as Standard Webhooks writes it."""

    webhook: WebhookView
    secret: str
