"""API keys."""

from __future__ import annotations

from datetime import datetime

from udair_platform.contract.value import Value


class ApiKey(Value):
    """What is known of a key. A `revoked_time` to come ends the grace after a rotation."""

    kid: str
    name: str
    role: str | None = None
    scopes: list[str]
    domains: list[str] | None = None
    created_time: datetime
    expires_time: datetime | None = None
    revoked_time: datetime | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kid={self.kid!r}, name={self.name!r}, scopes={self.scopes!r})"

    __str__ = __repr__


class LoginLink(Value):
    """A link that logs a browser in to the console: once, until `expires_time`."""

    url: str
    expires_time: datetime

    def __repr__(self) -> str:
        return f"LoginLink(expires_time={self.expires_time!r})"

    __str__ = __repr__


class NewApiKey(ApiKey):
    """A new key with its token, which is shown this once."""

    token: str
