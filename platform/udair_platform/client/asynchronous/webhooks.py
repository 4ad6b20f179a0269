"""Webhooks of the tenant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.names import checked
from udair_platform.contract.webhooks import SignedWebhook, Webhook


class AsyncWebhooks:
    """Webhooks of the tenant; for admins."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, url: str, kinds: Sequence[str] = ("*",), *, description: str = "") -> SignedWebhook:
        """Have events sent to `url` from now on; `secret` is what they are signed with.

        Args:
            kinds: e.g. ``job.SUCCEEDED``, ``job.*``, ``*``.
        """
        body = {"url": url, "kinds": [*kinds], "description": description}
        return SignedWebhook.model_validate(await self._transport.json("POST", "/v1/webhooks", body=body))

    async def get(self, id: str) -> Webhook:
        """One webhook, and how its deliveries go. Raises NotFound."""
        return Webhook.model_validate(await self._transport.json("GET", f"/v1/webhooks/{checked(id)}"))

    async def list(self) -> AsyncIterator[Webhook]:
        """Webhooks, oldest first."""
        async for item in self._transport.pages("/v1/webhooks", "webhooks"):
            yield Webhook.model_validate(item)

    async def ping(self, id: str) -> Webhook:
        """Send it a ``webhook.ping``, whatever kinds it takes."""
        return await self._do(id, "ping")

    async def enable(self, id: str) -> Webhook:
        """Send again what happens from now on."""
        return await self._do(id, "enable")

    async def disable(self, id: str) -> Webhook:
        """Send nothing until it is enabled again."""
        return await self._do(id, "disable")

    async def rotate_secret(self, id: str) -> SignedWebhook:
        """Another secret; what is sent is signed with both until the next rotation."""
        path = f"/v1/webhooks/{checked(id)}:rotateSecret"
        return SignedWebhook.model_validate(await self._transport.json("POST", path))

    async def delete(self, id: str) -> None:
        """Send nothing more."""
        await self._transport.json("DELETE", f"/v1/webhooks/{checked(id)}")

    async def _do(self, id: str, verb: str) -> Webhook:
        return Webhook.model_validate(await self._transport.json("POST", f"/v1/webhooks/{checked(id)}:{verb}"))
