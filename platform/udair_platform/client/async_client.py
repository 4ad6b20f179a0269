"""The asynchronous client: many images at once from one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from udair_platform.client.client import Restored, RestoreOptions, connection, restore_path
from udair_platform.client.errors import ClientError, error_of
from udair_platform.client.models import PlatformInfo
from udair_platform.client.transport import body_of, may_repeat, no_answer, pause_s

_TRIES = 4
Name = TypeVar("Name")


class AsyncClient:
    """A connection to one platform's data plane, as one key's bearer.

    async with AsyncClient() as client:
        async for name, restored in client.restore_many(images, "foggy-cams"):
            ...

    Args:
        url, api_key, home: As of `Client`.
        serve_url: The data plane; asked of the platform if None.
        timeout_s: Longest wait for one answer, seconds.

    Raises:
        ClientError: It is nowhere said where the platform is.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        home: str | Path | None = None,
        serve_url: str | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self.url, api_key = connection(url, api_key, home)
        self._serve_url = serve_url
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "udair-client"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            limits=httpx.Limits(max_connections=64),
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def platform(self) -> PlatformInfo:
        """Version, data-plane URL, tenant and base model."""
        return PlatformInfo.model_validate((await self._send("GET", f"{self.url}/v1/platform")).json())

    async def restore(self, image: bytes, domain: str, **options: Any) -> Restored:
        """Restore one encoded image by what serves `domain` now.

        Args:
            image: PNG, JPEG, WebP, TIFF or BMP.
            options: Of `RestoreOptions`.

        Raises:
            ApiError: The platform refused.
            ConnectionFailed: Nothing answered.
        """
        chosen = RestoreOptions(**options)
        if self._serve_url is None:
            self._serve_url = (await self.platform()).serve_url.rstrip("/")
        response = await self._send(
            "POST",
            f"{self._serve_url}{restore_path(domain)}",
            content=image,
            headers=chosen.headers(image),
            params=chosen.params(),
        )
        return Restored(response.content, dict(response.headers))

    async def restore_many(
        self, images: Iterable[tuple[Name, bytes]], domain: str, *, at_once: int = 8, **options: Any
    ) -> AsyncIterator[tuple[Name, Restored | ClientError]]:
        """Restore images as they are taken from `images`, `at_once` at a time; answers come as they are ready.

        An image that is refused gives its error; the others go on.
        """

        async def one(name: Name, image: bytes) -> tuple[Name, Restored | ClientError]:
            try:
                return name, await self.restore(image, domain, **options)
            except ClientError as error:
                return name, error

        running: set[asyncio.Task[tuple[Name, Restored | ClientError]]] = set()
        rest = iter(images)
        try:
            while True:
                for name, image in rest:
                    running.add(asyncio.create_task(one(name, image)))
                    if len(running) >= at_once:
                        break
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        for attempt in range(_TRIES):
            last, response = attempt + 1 == _TRIES, None
            try:
                response = await self._client.request(method, url, **request)
            except httpx.TransportError as error:
                if last:
                    raise no_answer(url, error) from None
            else:
                if response.is_success:
                    return response
                if last or not may_repeat(response):
                    raise error_of(response.status_code, body_of(response))
            await asyncio.sleep(pause_s(attempt, response))
        raise AssertionError("the last try returns or raises")
