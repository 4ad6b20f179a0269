"""What the database knows about an API key: never the key itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udair_platform.entities.text import Name, ShortName, TenantId
from udair_platform.roles import Role, role_of


@dataclass(frozen=True)
class ApiKey:
    """What the database knows about a key: never the key itself."""

    kid: ShortName
    tenant: TenantId
    name: Name
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    created_time: datetime
    expires_time: datetime | None = None
    revoked_time: datetime | None = None
    seq: int = 0

    @property
    def role(self) -> Role | None:
        """The role that its scopes amount to, if there is one."""
        return role_of(self.scopes)
