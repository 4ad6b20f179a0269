"""Figures for Prometheus: of the whole platform, so not for a tenant's keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from udair_platform.api.context import Ctx, context_of
from udair_platform.api.principal import Shown, require
from udair_platform.errors import Forbidden

router = APIRouter(tags=["health"])
_allowed = require("metrics:read", whole_tenant=True)


def _scraper(request: Request, _shown: Shown = None) -> None:
    context = context_of(request)
    if context.settings.metrics_public:
        return
    who, operator = _allowed(request), context.settings.default_tenant
    if who.tenant != operator:
        raise Forbidden(
            f"{who.actor} is of tenant {who.tenant!r}; these are figures of the platform, for {operator!r}."
        )


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(context: Ctx, _who: Annotated[None, Depends(_scraper)]) -> Response:
    """Requests, jobs and events. Wants a key of the operator's tenant with metrics:read, unless made public."""
    return Response(context.metrics.text(), media_type=CONTENT_TYPE_LATEST)
