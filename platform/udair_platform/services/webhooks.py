"""Webhooks made, changed and deleted, and the secrets that sign what they are sent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from udair_platform.entities import webhook as entity
from udair_platform.entities.names import new_id
from udair_platform.entities.webhook import Webhook, WebhookState, is_kind
from udair_platform.errors import FieldError, Invalid, QuotaExceeded
from udair_platform.services.change import Change
from udair_platform.signing import Purpose, sign

MOST = 20  # webhooks of a tenant
PING = "webhook.ping"


def create(
    tx: Change,
    *,
    tenant: str,
    url: str,
    kinds: Sequence[str],
    description: str,
    allow_private: bool,
    id: str | None = None,
) -> Webhook:
    """A new webhook; it is told what happens from now on.

    Args:
        allow_private: Accept http:// and addresses of private networks: an operator's decision.
        id: An id derived from an idempotency key: the webhook of that id is returned as it is.

    Raises:
        Invalid: The address or a kind is not acceptable; points at it.
        QuotaExceeded: The tenant has as many as it may have.
    """
    check_url(url, allow_private=allow_private)
    for place, kind in enumerate(kinds):
        if not is_kind(kind):
            detail = f"kind {kind[:64]!r} is none; expected e.g. job.SUCCEEDED, job.* or *."
            raise Invalid(detail, errors=[FieldError(f"/kinds/{place}", detail)])
    state = tx.state
    known = state.webhooks.find(tenant, id) if id else None
    if known is not None:
        return known
    if state.webhooks.count(tenant) >= MOST:
        raise QuotaExceeded(f"The tenant has {MOST} webhooks, the most that are kept; delete one first.")
    created = Webhook(
        id=id or new_id("w"),
        tenant=tenant,
        url=url,
        kinds=tuple(kinds),
        description=description,
        cursor=state.events.newest(tenant),
        created_time=tx.now,
        updated_time=tx.now,
    )
    state.webhooks.add(created)
    record(tx, created, "webhook.created")
    return created


def change(tx: Change, webhook: Webhook, to: WebhookState) -> Webhook:
    """Move `webhook` to state `to`; what it is in already stays. Raises InvalidState.

    One that is made active again is told what happens from now on: a backlog of weeks helps nobody.
    """
    if webhook.state is to:
        return webhook
    moved = entity.advance(webhook, to, now=tx.now)
    if to is WebhookState.ACTIVE:
        moved = replace(moved, cursor=tx.state.events.newest(webhook.tenant))
    saved = tx.state.webhooks.save(moved)
    record(tx, saved, f"webhook.{to}")
    return saved


def rotate_secret(tx: Change, webhook: Webhook) -> Webhook:
    """Give `webhook` another secret; from now on both sign, the new one first."""
    saved = tx.state.webhooks.save(replace(webhook, secret_number=webhook.secret_number + 1, updated_time=tx.now))
    record(tx, saved, "webhook.secret_rotated")
    return saved


def secret_of(signing_key: bytes, webhook: Webhook, number: int | None = None) -> str:
    """The secret that signs what `webhook` is sent: derived, so that none is stored anywhere."""
    path = f"{webhook.tenant}/{webhook.id}/{number or webhook.secret_number}"
    return "whsec_" + base64.b64encode(sign(signing_key, Purpose.WEBHOOK, path.encode())).decode()


def secrets_of(signing_keys: Sequence[bytes], webhook: Webhook) -> list[str]:
    """The secrets in use: the newest, and those before it until its owner has changed over.

    Args:
        signing_keys: The platform's, and the one before while that is still good.
    """
    numbers = [webhook.secret_number] + [webhook.secret_number - 1] * (webhook.secret_number > 1)
    return [secret_of(key, webhook, number) for key in signing_keys for number in numbers]


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what can be no webhook's address. Where its name leads is checked at every delivery.

    Raises:
        Invalid: Points at /url.
    """
    problem = _problem(url, allow_private)
    if problem:
        detail = f"url {url[:120]!r} {problem}"
        raise Invalid(detail, errors=[FieldError("/url", detail)])


def _problem(url: str, allow_private: bool) -> str | None:
    if any(ord(char) <= 32 or ord(char) > 126 for char in url):
        return "holds blanks, control characters or others than ASCII."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL."
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        return f"has scheme {parts.scheme!r}; expected https."
    if not parts.hostname:
        return "names no host."
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password; requests are signed instead."
    if parts.fragment:
        return "has a fragment, which is never sent."
    if port is not None and not 0 < port < 65536:
        return "has a port out of range."
    return None


def record(tx: Change, webhook: Webhook, kind: str) -> None:
    """Append what happened to `webhook`. Never its secret."""
    data = {"url": webhook.url.partition("?")[0], "kinds": list(webhook.kinds), "error": webhook.last_error[:200]}
    tx.record(webhook, kind, data)
