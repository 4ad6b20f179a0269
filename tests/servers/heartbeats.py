"""What an attempt last said of itself."""

from __future__ import annotations

from udair_jobs.runtime.reporting import PROGRESS
from udair_jobs.specs import Progress
from udair_jobs.storage import NotFound, Storage


def read_progress(storage: Storage) -> Progress | None:
    """The latest heartbeat of the attempt at `storage`, or None before the first."""
    try:
        return Progress.model_validate_json(storage.get(PROGRESS))
    except NotFound:
        return None
