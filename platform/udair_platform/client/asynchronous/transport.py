"""One HTTP connection to the platform: the key, retries where they are safe, errors by code."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from udair_platform.client.errors import ConnectionFailed, error_of
from udair_platform.client.replies import body_of, may_repeat, no_answer, pause_s
from udair_platform.client.waiting import async_pause

if TYPE_CHECKING:
    import httpx
    from httpx_sse import ServerSentEvent

    from udair_platform.contract.usage import Upload

_TRIES = 4
_SILENCE_S = 60.0  # a stream says something every 15 s


class AsyncTransport:
    """Sends requests; GETs, and POSTs under an idempotency key, are repeated when nothing answers.

    Args:
        url: The control API, e.g. ``http://127.0.0.1:8080``.
        api_key: ``ak_…``; sent to `url` and to the data plane that the platform names.
        serve_url: The data plane; asked of the platform if None.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 30.0, serve_url: str | None = None) -> None:
        import httpx  # 60 ms that who only imports the package need not wait for

        self.url = url.rstrip("/")
        self._serve_url = serve_url.rstrip("/") if serve_url else None
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "udair-client"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            limits=httpx.Limits(max_connections=64),
        )

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def serve_url(self) -> str:
        """Where the data plane is."""
        if self._serve_url is None:
            platform = await self.json("GET", "/v1/platform")
            self._serve_url = str(platform["serve_url"]).rstrip("/")
        return self._serve_url

    async def json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """The JSON of the reply; None if it has none. Every POST has an idempotency key, ours if need be."""
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex} if method == "POST" else {}
        response = await self.send(method, f"{self.url}{path}", json=body, params=params, headers=headers)
        if response.status_code == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise ConnectionFailed(f"{self.url} answered something that is no JSON; is it the control API?") from None

    async def text(self, path: str, *, params: dict[str, Any] | None = None) -> str:
        """The reply as text."""
        return (await self.send("GET", f"{self.url}{path}", params=params)).text

    async def content(self, path: str) -> bytes:
        """The reply as it is."""
        return (await self.send("GET", f"{self.url}{path}")).content

    async def pages(
        self, path: str, items: str, *, params: dict[str, Any] | None = None, limit: int | None = None
    ) -> AsyncIterator[Any]:
        """Every item of a list, page after page."""
        token, given = "", 0
        while True:
            page = await self.json("GET", path, params={**(params or {}), **({"page_token": token} if token else {})})
            for item in page[items]:
                if limit is not None and given >= limit:
                    return
                given += 1
                yield item
            token = page.get("next_page_token", "")
            if not token:
                return

    async def stream(
        self,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        last_id: str = "",
        ends: Callable[[ServerSentEvent], bool] | None = None,
    ) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events; a connection that breaks is made again, after the last event that came.

        Args:
            last_id: Begin after this event.
            ends: Whether an event is the last one; None for a stream that has no end.

        Raises:
            ConnectionFailed: Nothing answered, four times in a row.
            ApiError: The platform refused.
        """
        import httpx
        from httpx_sse import EventSource, SSEError

        tries = 0
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
            request = self._client.stream(
                "GET",
                f"{self.url}{path}",
                params=params,
                headers=headers,
                timeout=httpx.Timeout(_SILENCE_S, connect=5.0),
            )
            tries, silent, refused = tries + 1, True, None
            try:
                async with request as response:
                    if not response.is_success:
                        await response.aread()
                        refused = response
                        if tries >= _TRIES or not may_repeat(response):
                            raise error_of(response.status_code, body_of(response))
                    else:
                        async for event in EventSource(response).aiter_sse():
                            if event.event == "error":
                                raise error_of(0, event.json())
                            tries, silent, last_id = 0, False, event.id or last_id
                            yield event
                            if ends is not None and ends(event):
                                return
            except (httpx.TransportError, SSEError) as error:
                if tries >= _TRIES:
                    raise no_answer(f"{self.url}{path}", error) from None
            else:
                if refused is None and silent and ends is not None:
                    return  # there was nothing left to say
            await async_pause(pause_s(tries, refused))

    async def upload(self, form: Upload, content: bytes) -> None:
        """Send a form with its file, where it says; without our key, which is not for an object store.

        Raises:
            ConnectionFailed: Nothing answered, four times in a row.
            ApiError: It was refused.
        """
        import httpx

        for attempt in range(_TRIES):
            request = self._client.build_request(
                "POST", form.url, data=form.fields, files={"file": (form.name, content)}
            )
            request.headers.pop("Authorization", None)
            response = None
            try:
                response = await self._client.send(request)
            except httpx.TransportError as error:
                if attempt + 1 == _TRIES:
                    raise no_answer(form.url.partition("?")[0], error) from None
            else:
                if response.is_success:
                    return
                if attempt + 1 == _TRIES or not may_repeat(response):
                    raise error_of(response.status_code, body_of(response))
            await async_pause(pause_s(attempt, response))

    async def send(self, method: str, url: str, *, repeat: bool = False, **request: Any) -> httpx.Response:
        """Send, again if that is safe (a GET, an idempotency key, or `repeat`) and nothing answered.

        Raises:
            ConnectionFailed: Nothing answered.
            ApiError: The platform refused.
        """
        import httpx

        safe = repeat or method == "GET" or "Idempotency-Key" in (request.get("headers") or {})
        for attempt in range(_TRIES):
            last = attempt + 1 == _TRIES or not safe
            response = None
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
            await async_pause(pause_s(attempt, response))
        raise AssertionError("the last try returns or raises")
