"""Snapshots: the images that a job found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from udair_platform.contract.value import Value


class Snapshot(Value):
    """A snapshot; `summary` is what the job found in the domain's bucket."""

    id: str
    state: str
    job_id: str
    digest: str | None = None
    summary: dict[str, Any] | None = None
    detail: str = ""
    created_time: datetime
    updated_time: datetime
