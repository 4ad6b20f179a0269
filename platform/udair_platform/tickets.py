"""What the platform hands out for a while: facts that it signed for one purpose, and the moment they end.

Anybody can read a ticket, and only the platform can make one. What it is good for says whoever opens it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from udair_platform.signing import Purpose, seal, unseal


class Forged(Exception):
    """No ticket of this platform, or not for this purpose."""


class Over(Exception):
    """A ticket whose time is over.

    Attributes:
        until: When it was.
    """

    def __init__(self, until: datetime) -> None:
        super().__init__(f"good until {until.isoformat(timespec='seconds')}")
        self.until = until


@dataclass(frozen=True)
class Tickets:
    """Gives tickets and opens them.

    Attributes:
        clock: The time.
        signing_key: Signs them.
        previous: The key before it, while what it signed is still good.
    """

    clock: Callable[[], datetime]
    signing_key: bytes
    previous: bytes | None = None

    def give(self, purpose: Purpose, facts: Sequence[Any], life: timedelta) -> tuple[str, datetime]:
        """A ticket that carries JSON-ready `facts`, and when it ends."""
        until = self.clock() + life
        return seal(self.signing_key, purpose, json.dumps([until.timestamp(), *facts]).encode()), until

    def open(self, purpose: Purpose, ticket: str) -> tuple[list[Any], datetime]:
        """The facts that a ticket carries, and when it ends.

        Raises:
            Forged: It is none of ours.
            Over: Its time is over.
        """
        for key in (self.signing_key, self.previous):
            body = None if key is None else unseal(key, purpose, ticket)
            if body is not None:
                until, *facts = json.loads(body)
                ends = datetime.fromtimestamp(until, UTC)
                if self.clock() >= ends:
                    raise Over(ends)
                return facts, ends
        raise Forged
