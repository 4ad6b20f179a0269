"""An image on its way through the data plane."""

from __future__ import annotations

from typing import Any

from udair_platform.client.names import checked
from udair_platform.client.pictures import Picture, Restored, RestoreOptions, encoded
from udair_platform.client.synchronous.transport import Transport


def restore(transport: Transport, domain: str, image: Picture, *, timeout_s: float, **options: Any) -> Restored:
    """Restore one image by what serves `domain` now; see `Client.restore`."""
    chosen = RestoreOptions(**options)
    content = encoded(image)
    response = transport.send(
        "POST",
        f"{transport.serve_url()}/v1/domains/{checked(domain)}:restore",
        content=content,
        headers=chosen.headers(content),
        params=chosen.params(),
        timeout=timeout_s,
        repeat=True,  # restoring twice restores the same
    )
    return Restored(response.content, dict(response.headers))
