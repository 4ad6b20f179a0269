"""Whether the process lives and whether it can do its work; the only routes without a key."""

from __future__ import annotations

from fastapi import APIRouter

from udair_jobs.storage import StorageError
from udair_platform.api.context import Ctx
from udair_platform.errors import StoreDown
from udair_platform.registry import layout

router = APIRouter(tags=["health"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(context: Ctx) -> dict[str, str]:
    """The database and the store answer."""
    context.database.ping()
    try:
        context.store.exists(layout.ROUTES)
    except StorageError as error:
        raise StoreDown("The object store does not answer.") from error
    return {"status": "ok"}
