"""Links that log a browser in without the key being typed: each works once, within minutes, and says which key asked for it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from udair_platform.entities.api_key import ApiKey
from udair_platform.errors import Unauthenticated
from udair_platform.services.change import Change
from udair_platform.signing import Purpose
from udair_platform.tickets import Forged, Over, Tickets

GOOD_FOR = timedelta(minutes=15)
_ANOTHER = "`udair login-link` makes another."


def make(tickets: Tickets, *, tenant: str, kid: str) -> tuple[str, datetime]:
    """The token of a new link for the bearer of `kid`, and when it ends."""
    facts = [tenant, kid, tickets.clock().timestamp(), secrets.token_hex(8)]
    return tickets.give(Purpose.CONSOLE_LOGIN, facts, GOOD_FOR)


def use(tx: Change, tickets: Tickets, token: str) -> ApiKey:
    """The key that a link stands for. From now on the link is spent.

    Raises:
        Unauthenticated: It is none of ours, was used, or is over; or its key is, or was logged out since.
    """
    try:
        (tenant, kid, made, _), ends = tickets.open(Purpose.CONSOLE_LOGIN, token)
    except Forged:
        raise Unauthenticated(f"This is no login link of this platform. {_ANOTHER}") from None
    except Over as over:
        raise Unauthenticated(f"The login link was good until {over.until:%H:%M:%S} UTC. {_ANOTHER}") from None
    key = tx.state.keys.find(tenant, kid)
    if key is None or not key.good_at(tx.now):
        raise Unauthenticated("The key that this link stands for is not good any more.")
    if key.logged_out_time is not None and made < key.logged_out_time.timestamp():
        raise Unauthenticated(f"Somebody logged out with the link's key since it was made. {_ANOTHER}")
    if not tx.state.used_links.use(hashlib.sha256(token.encode()).hexdigest(), until=ends, now=tx.now):
        raise Unauthenticated(f"The login link was used already; it works once. {_ANOTHER}")
    tx.record(key, "key.link_used")
    return key
