"""API keys of the tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.names import checked
from udair_platform.contract.keys import ApiKey, NewApiKey


class AsyncKeys:
    """API keys of the tenant; for admins."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
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
        return NewApiKey.model_validate(await self._transport.json("POST", "/v1/apiKeys", body=body))

    async def list(self) -> AsyncIterator[ApiKey]:
        """Keys, revoked ones too."""
        async for item in self._transport.pages("/v1/apiKeys", "keys"):
            yield ApiKey.model_validate(item)

    async def rotate(self, kid: str, *, grace_s: int = 0) -> NewApiKey:
        """A new key that says the same; the old one stays good for `grace_s` seconds. Raises Conflict."""
        path = f"/v1/apiKeys/{checked(kid)}:rotate"
        return NewApiKey.model_validate(await self._transport.json("POST", path, body={"grace_s": grace_s}))

    async def revoke(self, kid: str) -> ApiKey:
        """Take a key back."""
        return ApiKey.model_validate(await self._transport.json("POST", f"/v1/apiKeys/{checked(kid)}:revoke"))
