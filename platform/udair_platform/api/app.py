"""The control API as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from fastapi import FastAPI

import udair
from udair_jobs.storage import Storage
from udair_platform.api.access.oidc import IdentityProvider
from udair_platform.api.access.rate_limits import RateLimits
from udair_platform.api.context import Context
from udair_platform.api.feed import Feed
from udair_platform.api.metrics import Measured, Metrics
from udair_platform.api.middleware.traced import Traced
from udair_platform.api.openapi import DescribedApi
from udair_platform.api.routes import (
    aliases,
    attention,
    budget,
    domains,
    events,
    health,
    jobs,
    keys,
    lineage,
    metrics,
    platform,
    receipts,
    route,
    serving_history,
    sources,
    usage,
    versions,
    webhooks,
)
from udair_platform.http import problems
from udair_platform.http.guard import RequestGuard
from udair_platform.http.tracing import Tracing
from udair_platform.services.tenants import default_quota
from udair_platform.services.trials import MOST_READ_BYTES, TRIED_AT
from udair_platform.services.uploads import MAX_UPLOAD_BYTES
from udair_platform.services.usage import prices_of
from udair_platform.settings import Settings
from udair_platform.state.database import Database


def create_app(
    settings: Settings,
    *,
    database: Database,
    store: Storage,
    signing_key: bytes,
    previous_signing_key: bytes | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The application over `database` and `store`; nothing is contacted until a request comes.

    Args:
        database: Migrated; see `state.database.open_database`.
        store: The platform's own objects: job logs are read from it, routes.json is written to it.
        signing_key: 32 bytes; see `operations.first_start.ensure_signing_key`.
        previous_signing_key: Its keys are still good; see `keys.verify`.
        clock: Now, in UTC.
    """
    app = DescribedApi(
        title="UDAIR control API",
        version=udair.__version__,
        summary="Domains, adaptation jobs, adapter versions, and which of them serves.",
        # Interactive pages load scripts from elsewhere; the schema is at /v1/openapi.json, with a key.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    figures = Metrics(database, clock, prices_of(settings))
    app.state.context = Context(
        settings,
        database,
        store,
        signing_key,
        previous_signing_key,
        clock,
        feed=Feed(database),
        limits=RateLimits(settings.rate_limit_per_minute, settings.failed_auth_per_minute),
        identity=IdentityProvider.of(settings),
        metrics=figures,
        quota=default_quota(settings),
        prices=prices_of(settings),
    )
    for room in (
        health,
        metrics,
        platform,
        attention,
        domains,
        sources,
        usage,
        budget,
        jobs,
        versions,
        lineage,
        receipts,
        aliases,
        route,
        serving_history,
        keys,
        events,
        webhooks,
    ):
        app.include_router(room.router)
    app.include_router(keys.links)
    app.include_router(sources.received)
    problems.install(app)
    app.add_middleware(
        RequestGuard,
        max_body_bytes=settings.max_body_bytes,
        larger={
            "/v1/uploads/": MAX_UPLOAD_BYTES + settings.max_body_bytes,
            TRIED_AT: MOST_READ_BYTES,
        },
    )
    app.add_middleware(Measured, metrics=figures)
    tracing = Tracing("udair-api")
    if tracing.enabled:
        app.add_middleware(Traced, tracing=tracing)
    return app
