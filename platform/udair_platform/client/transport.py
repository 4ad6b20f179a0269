"""One HTTP connection to the platform: the key, retries where they are safe, errors by code."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx

from udair_platform.client.errors import ConnectionFailed, error_of

_TRIES = 4
_RETRY_STATUS = (429, 502, 503, 504)
_LONGEST_PAUSE_S = 10.0


class Transport:
    """Sends requests; GETs, and POSTs under an idempotency key, are repeated when nothing answers.

    Args:
        url: The control API, e.g. ``http://127.0.0.1:8080``.
        api_key: ``ak_…``; sent to `url` and to the data plane that the platform names.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": "udair-client"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
        )

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def json(
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
        response = self.send(method, f"{self.url}{path}", json=body, params=params, headers=headers)
        if response.status_code == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise ConnectionFailed(f"{self.url} answered something that is no JSON; is it the control API?") from None

    def text(self, path: str, *, params: dict[str, Any] | None = None) -> str:
        """The reply as text."""
        return self.send("GET", f"{self.url}{path}", params=params).text

    def pages(
        self, path: str, items: str, *, params: dict[str, Any] | None = None, limit: int | None = None
    ) -> Iterator[Any]:
        """Every item of a list, page after page."""
        token, given = "", 0
        while True:
            page = self.json("GET", path, params={**(params or {}), **({"page_token": token} if token else {})})
            for item in page[items]:
                if limit is not None and given >= limit:
                    return
                given += 1
                yield item
            token = page.get("next_page_token", "")
            if not token:
                return

    def send(self, method: str, url: str, *, repeat: bool = False, **request: Any) -> httpx.Response:
        """Send, again if that is safe (a GET, an idempotency key, or `repeat`) and nothing answered.

        Raises:
            ConnectionFailed: Nothing answered.
            ApiError: The platform refused.
        """
        safe = repeat or method == "GET" or "Idempotency-Key" in (request.get("headers") or {})
        for attempt in range(_TRIES):
            last = attempt + 1 == _TRIES or not safe
            response = None
            try:
                response = self._client.request(method, url, **request)
            except httpx.TransportError as error:
                if last:
                    raise no_answer(url, error) from None
            else:
                if response.is_success:
                    return response
                if last or not may_repeat(response):
                    raise error_of(response.status_code, body_of(response))
            time.sleep(pause_s(attempt, response))
        raise AssertionError("the last try returns or raises")


def may_repeat(response: httpx.Response) -> bool:
    """Whether the same request may be answered a little later.

    A 500 without a problem in its body is not the platform's own: a proxy lost the replica behind it.
    """
    if response.status_code == 500:
        return not response.headers.get("Content-Type", "").startswith("application/problem+json")
    return response.status_code in _RETRY_STATUS


def pause_s(attempt: int, response: httpx.Response | None) -> float:
    """Seconds before the next try: what the answer says, or twice as long as the last time."""
    said = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(said), _LONGEST_PAUSE_S) if said.isdigit() else 0.2 * 2**attempt


def no_answer(url: str, error: httpx.TransportError) -> ConnectionFailed:
    """What is raised when nothing answered."""
    why = str(error) or type(error).__name__
    return ConnectionFailed(f"{url.split('?')[0]} does not answer: {why}. Is `udair up` running?")


def body_of(response: httpx.Response) -> dict[str, Any]:
    """The problem that a refusal carries."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    return {"detail": f"HTTP {response.status_code}: {response.text[:200]}".strip(": ")}
