"""The platform itself: where it serves, what it serves, and the schema of this API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

import udair
from udair_platform.api.context import Ctx
from udair_platform.api.principal import AnyKey, DomainReader
from udair_platform.contract.base_models import BaseModelInfo, PlatformInfo
from udair_platform.contract.pages import BasePage

router = APIRouter(prefix="/v1", tags=["platform"])


@router.get("/platform")
def get_platform(context: Ctx, who: AnyKey) -> PlatformInfo:
    """Version, data-plane URL and base model."""
    with context.database.read() as state:
        base = state.bases.current()
    return PlatformInfo(
        version=udair.__version__,
        serve_url=context.settings.serve_url,
        tenant=who.tenant,
        base_model=BaseModelInfo.describe(base) if base else None,
    )


@router.get("/baseModels")
def list_base_models(context: Ctx, who: DomainReader) -> BasePage:
    """Base models that this platform has adapted, the current one last."""
    with context.database.read() as state:
        return BasePage(base_models=[BaseModelInfo.describe(base) for base in state.bases.all()])


@router.get("/openapi.json")
def get_schema(request: Request, who: AnyKey) -> dict[str, Any]:
    """The OpenAPI 3.1 schema of this API."""
    schema: dict[str, Any] = request.app.openapi()
    return schema
