"""A webhook: an address of a tenant that is told what happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from udair_platform.entities import machine
from udair_platform.entities.text import Id, Prose, TenantId

KIND = r"^(\*|[a-z]+\.(\*|[A-Za-z_]+))$"


class WebhookState(StrEnum):
    """DISABLED: it could not be reached for days, or somebody said so; nothing is sent."""

    ACTIVE = "ACTIVE"
    DISABLED = "DISABLED"
    DELETED = "DELETED"


_W = WebhookState
TRANSITIONS: Mapping[WebhookState, frozenset[WebhookState]] = {
    _W.ACTIVE: frozenset({_W.DISABLED, _W.DELETED}),
    _W.DISABLED: frozenset({_W.ACTIVE, _W.DELETED}),
    _W.DELETED: frozenset(),
}


@dataclass(frozen=True)
class Webhook:
    """Where events of a tenant are sent, and how far.

    The event log is the outbox: `cursor` is the number of the last event that was delivered, or given up.

    Attributes:
        kinds: ``job.SUCCEEDED``, ``job.*`` or ``*``.
        secret_number: Of its signing secret, which follows from the platform's signing key; a higher
            number is another secret.
        failures: Deliveries that failed in a row.
        failing_since: When the first of them did.
        not_before: The next try waits until then.
        last_error: Of the last try, empty when it went well.
    """

    id: Id
    tenant: TenantId
    url: str
    kinds: tuple[str, ...]
    description: Prose
    cursor: int
    created_time: datetime
    updated_time: datetime
    state: WebhookState = WebhookState.ACTIVE
    secret_number: int = 1
    failures: int = 0
    failing_since: datetime | None = None
    not_before: datetime | None = None
    last_error: Prose = ""
    delivered_time: datetime | None = None
    row_version: int = 1
    seq: int = 0

    def takes(self, kind: str) -> bool:
        """Whether it wants events of `kind`."""
        return any(wanted in ("*", kind, f"{kind.partition('.')[0]}.*") for wanted in self.kinds)


def is_kind(kind: str) -> bool:
    """Whether `kind` names a kind of event, or all of a noun's."""
    return re.fullmatch(KIND, kind) is not None and len(kind) <= 64


def advance(webhook: Webhook, to: WebhookState, *, now: datetime) -> Webhook:
    """`webhook` in state `to`; one that is active again starts with a clean slate.

    Raises:
        InvalidState: The table has no such move.
    """
    machine.check("Webhook", webhook.id, TRANSITIONS, webhook.state, to)
    moved = replace(webhook, state=to, updated_time=now)
    if to is WebhookState.ACTIVE:
        moved = replace(moved, failures=0, failing_since=None, not_before=None, last_error="")
    return moved
