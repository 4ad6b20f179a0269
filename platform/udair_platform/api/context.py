"""What every handler works with, and how it gets it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from udair_jobs.storage import Storage
from udair_platform.api.access.oidc import IdentityProvider
from udair_platform.api.access.rate_limits import RateLimits
from udair_platform.api.feed import Feed
from udair_platform.api.metrics import Metrics
from udair_platform.entities.prices import Prices
from udair_platform.entities.tenant import Quota
from udair_platform.http import tracing
from udair_platform.services.change import Change, change
from udair_platform.settings import Settings
from udair_platform.state.database import Database
from udair_platform.tickets import Tickets


class Actor(Protocol):
    """Somebody who changes something."""

    @property
    def actor(self) -> str:
        """How events name it."""
        ...


@dataclass(frozen=True)
class Context:
    """The parts that the composition root put together."""

    settings: Settings
    database: Database
    store: Storage
    signing_key: bytes
    previous_signing_key: bytes | None
    clock: Callable[[], datetime]
    feed: Feed
    limits: RateLimits
    identity: IdentityProvider | None
    metrics: Metrics
    quota: Quota
    prices: Prices

    @property
    def tickets(self) -> Tickets:
        """What is handed out for a while."""
        return Tickets(self.clock, self.signing_key, self.previous_signing_key)

    def change(self, who: Actor) -> AbstractContextManager[Change]:
        """One transaction in which services act for `who`; the data plane is told of it afterwards."""
        return change(
            self.database,
            self.store,
            actor=who.actor,
            now=self.clock(),
            quota=self.quota,
            prices=self.prices,
            trace=tracing.current(),
        )


def context_of(request: Request) -> Context:
    """The context of the application that serves `request`."""
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(context_of)]
