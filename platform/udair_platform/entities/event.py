"""An event: one thing that happened, to what, by whom and because of what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from udair_platform.entities.text import Cause, Id, Name, ShortName, TenantId, Word


@dataclass(frozen=True)
class Event:
    """One thing that happened, to what, by whom and because of what. Append-only."""

    tenant: TenantId
    time: datetime
    actor: Name
    cause: Cause
    noun: Word
    name: Name
    kind: ShortName
    domain_id: Id | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
