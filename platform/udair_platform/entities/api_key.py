"""What the database knows about an API key: never the key itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udair_platform.entities.text import Name, ShortName, TenantId
from udair_platform.roles import Role, role_of


@dataclass(frozen=True)
class ApiKey:
    """What the database knows about a key: never the key itself.

    Attributes:
        logged_out_time: Sessions of the console that it began before are over.
        first_kid: Of the key that it took the place of, in the end; empty: of none. Both have one bearer.
    """

    kid: ShortName
    tenant: TenantId
    name: Name
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    created_time: datetime
    expires_time: datetime | None = None
    revoked_time: datetime | None = None
    logged_out_time: datetime | None = None
    first_kid: ShortName = ""
    seq: int = 0

    @property
    def role(self) -> Role | None:
        """The role that its scopes amount to, if there is one."""
        return role_of(self.scopes)

    def good_at(self, time: datetime) -> bool:
        """Whether it is neither revoked nor expired then."""
        return all(end is None or time < end for end in (self.revoked_time, self.expires_time))
