"""What the database knows about an API key: never the key itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class ApiKey:
    """What the database knows about a key: never the key itself."""

    kid: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    created_time: datetime
    expires_time: datetime | None = None
    revoked_time: datetime | None = None
    seq: int = 0
