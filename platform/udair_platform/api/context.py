"""What every handler works with, and how it gets it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Request

from udair_jobs.storage import Storage
from udair_platform.api.access.oidc import IdentityProvider
from udair_platform.api.access.rate_limits import RateLimits
from udair_platform.api.feed import Feed
from udair_platform.api.metrics import Metrics
from udair_platform.documents import routes
from udair_platform.errors import PlatformError
from udair_platform.settings import Settings
from udair_platform.state.database import Database
from udair_platform.telemetry import logger

_log = logger("api")


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

    def publish_routes(self) -> None:
        """Let the data plane know now; if that fails, the reconciler does it soon."""
        try:
            routes.publish(self.database, self.store)
        except PlatformError as error:
            _log.warning("routes.json follows later", code=error.code, detail=error.detail)


def context_of(request: Request) -> Context:
    """The context of the application that serves `request`."""
    return cast(Context, request.app.state.context)


Ctx = Annotated[Context, Depends(context_of)]
