"""An event: one thing that happened, to what, by whom and because of what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """One thing that happened, to what, by whom and because of what. Append-only."""

    tenant: str
    time: datetime
    actor: str
    cause: str
    noun: str
    name: str
    kind: str
    domain_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
