"""An image on its way through the data plane."""

from __future__ import annotations

from typing import Any

from udair_platform.client.asynchronous.transport import AsyncTransport
from udair_platform.client.names import checked
from udair_platform.client.pictures import Picture, Restored, RestoreOptions, encoded


async def restore(
    transport: AsyncTransport, domain: str, image: Picture, *, timeout_s: float, **options: Any
) -> Restored:
    """Restore one image by what serves `domain` now; see `Client.restore`. No work is done for who waits no longer."""
    chosen = RestoreOptions(**options)
    content = encoded(image)
    response = await transport.send(
        "POST",
        f"{await transport.serve_url()}/v1/domains/{checked(domain)}:restore",
        content=content,
        headers=chosen.headers(content),
        params=chosen.params() | {"timeout_s": f"{timeout_s:g}"},
        timeout=timeout_s,
        repeat=True,  # restoring twice restores the same
    )
    return Restored(response.content, dict(response.headers))
