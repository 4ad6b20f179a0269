"""API keys of the tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from udair_platform.client.names import checked
from udair_platform.client.synchronous.transport import Transport
from udair_platform.contract.keys import ApiKey, NewApiKey


class Keys:
    """API keys of the tenant; for admins."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        scopes: Sequence[str] | None = None,
        *,
        role: str | None = None,
        domains: Sequence[str] | None = None,
        expires_time: datetime | None = None,
    ) -> NewApiKey:
        """A new key; its `token` is shown this once.

        Args:
            scopes: What it may do; either these or `role`.
            role: ``viewer``, ``operator``, ``approver`` or ``admin``.
        """
        body = {
            "name": name,
            "role": role,
            "scopes": None if scopes is None else [*scopes],
            "domains": None if domains is None else [*domains],
            "expires_time": None if expires_time is None else expires_time.isoformat(),
        }
        return NewApiKey.model_validate(self._transport.json("POST", "/v1/apiKeys", body=body))

    def list(self) -> Iterator[ApiKey]:
        """Keys, revoked ones too."""
        for item in self._transport.pages("/v1/apiKeys", "keys"):
            yield ApiKey.model_validate(item)

    def rotate(self, kid: str, *, grace_s: int = 0) -> NewApiKey:
        """A new key that says the same; the old one stays good for `grace_s` seconds. Raises Conflict."""
        path = f"/v1/apiKeys/{checked(kid)}:rotate"
        return NewApiKey.model_validate(self._transport.json("POST", path, body={"grace_s": grace_s}))

    def revoke(self, kid: str) -> ApiKey:
        """Take a key back."""
        return ApiKey.model_validate(self._transport.json("POST", f"/v1/apiKeys/{checked(kid)}:revoke"))
