"""Webhooks: created, listed, tried out, switched on and off, deleted."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from udair_platform.api.context import Context, Ctx
from udair_platform.api.middleware.idempotency import derived
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Admin, Principal
from udair_platform.api.schemas import WebhookCreate
from udair_platform.contract.pages import WebhookPage
from udair_platform.contract.webhooks import SignedWebhook, Webhook
from udair_platform.entities import webhook as entity
from udair_platform.entities.webhook import WebhookState
from udair_platform.services import webhooks
from udair_platform.state.repositories import State

# No IdempotentRoute: it would store the secret. The derived id makes a repeated creation the same.
router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201)
def create_webhook(
    body: WebhookCreate, request: Request, response: Response, context: Ctx, who: Admin
) -> SignedWebhook:
    """Have events sent somewhere, from now on."""
    with context.change(who) as tx:
        created = webhooks.create(
            tx,
            tenant=who.tenant,
            url=body.url,
            kinds=body.kinds,
            description=body.description,
            allow_private=context.settings.webhook_allow_private,
            id=derived(request, "w", who),
        )
        shown = described(tx.state, created)
    response.headers["Location"] = f"/v1/webhooks/{created.id}"
    return SignedWebhook.describe(shown, secret=webhooks.secret_of(context.signing_key, created))


@router.get("")
def list_webhooks(page: Paged, context: Ctx, who: Admin) -> WebhookPage:
    """Webhooks, oldest first."""
    with context.database.read() as state:
        found = state.webhooks.page(who.tenant, after=page.after, size=page.size + 1)
        shown, token = page.cut(found, lambda webhook: webhook.seq)
        return WebhookPage(webhooks=[described(state, webhook) for webhook in shown], next_page_token=token)


@router.get("/{webhook}")
def get_webhook(webhook: str, context: Ctx, who: Admin) -> Webhook:
    """One webhook, and how its deliveries go."""
    with context.database.read() as state:
        return described(state, state.webhooks.get(who.tenant, webhook))


@router.delete("/{webhook}", status_code=204)
def delete_webhook(webhook: str, context: Ctx, who: Admin) -> None:
    """Send nothing more."""
    _change(context, who, webhook, WebhookState.DELETED)


@router.post("/{webhook}:enable")
def enable_webhook(webhook: str, context: Ctx, who: Admin) -> Webhook:
    """Send again what happens from now on."""
    return _change(context, who, webhook, WebhookState.ACTIVE)


@router.post("/{webhook}:disable")
def disable_webhook(webhook: str, context: Ctx, who: Admin) -> Webhook:
    """Send nothing until it is enabled again."""
    return _change(context, who, webhook, WebhookState.DISABLED)


@router.post("/{webhook}:ping", status_code=202)
def ping_webhook(webhook: str, context: Ctx, who: Admin) -> Webhook:
    """Send it a `webhook.ping`, whatever kinds it takes."""
    with context.change(who) as tx:
        found = tx.state.webhooks.get(who.tenant, webhook)
        webhooks.record(tx, found, webhooks.PING)
        return described(tx.state, found)


@router.post("/{webhook}:rotateSecret")
def rotate_secret(webhook: str, context: Ctx, who: Admin) -> SignedWebhook:
    """Another secret; what is sent is signed with both until the next rotation."""
    with context.change(who) as tx:
        rotated = webhooks.rotate_secret(tx, tx.state.webhooks.get(who.tenant, webhook))
        shown = described(tx.state, rotated)
    return SignedWebhook.describe(shown, secret=webhooks.secret_of(context.signing_key, rotated))


def _change(context: Context, who: Principal, id: str, to: WebhookState) -> Webhook:
    with context.change(who) as tx:
        changed = webhooks.change(tx, tx.state.webhooks.get(who.tenant, id), to)
        return described(tx.state, changed)


def described(state: State, webhook: entity.Webhook) -> Webhook:
    """A webhook for whoever asks, here or in the console."""
    behind = max(0, state.events.newest(webhook.tenant) - webhook.cursor)
    return Webhook.describe(webhook, behind=behind)
