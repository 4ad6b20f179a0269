"""Whether the process lives and whether it can do its work; the only routes without a key."""

from __future__ import annotations

from fastapi import APIRouter

from udair_jobs.storage import StorageError
from udair_platform.api.context import Ctx
from udair_platform.documents import store_paths
from udair_platform.errors import StoreDown

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
        context.store.exists(store_paths.ROUTES)
    except StorageError as error:
        raise StoreDown("The object store does not answer.") from error
    return {"status": "ok"}
