"""What a reply says about trying again, and what is raised when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from udair_platform.client.errors import ConnectionFailed

if TYPE_CHECKING:
    import httpx

_RETRY_STATUS = (429, 502, 503, 504)
_LONGEST_PAUSE_S = 10.0


def may_repeat(response: httpx.Response) -> bool:
    """Whether the same request may be answered a little later.

    A 500 without a problem in its body is not the platform's own: a proxy lost the replica behind it.
    """
    if response.status_code == 500:
        return not response.headers.get("Content-Type", "").startswith("application/problem+json")
    return response.status_code in _RETRY_STATUS


def pause_s(attempt: int, response: httpx.Response | None) -> float:
    """Seconds before the next try: what the answer says, or twice as long as the last time."""
    message = response.headers.get("Retry-After", "") if response is not None else ""
    return min(float(message) if message.isdigit() else 0.2 * 2**attempt, _LONGEST_PAUSE_S)


def no_answer(url: str, error: Exception) -> ConnectionFailed:
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
