"""What may go wrong for a client, by the platform's problem codes.

ClientError
├── ConnectionFailed        nothing answered, or what answered is no platform
├── WaitTimeout             a wait ended before the job did           (.job)
├── JobFailed               the job ended without a version           (.job)
└── ApiError                the platform refused                      (.code .status .request_id)
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── NotFound            404
    ├── Conflict            409
    │   └── GateRejected    GATE_REJECTED                             (.version, if there is one)
    ├── InvalidRequest      400, 413, 422                             (.errors)
    └── PlatformUnavailable 5xx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udair_platform.client.asynchronous.jobs import AsyncJob
    from udair_platform.client.asynchronous.versions import AsyncVersion
    from udair_platform.client.synchronous.jobs import Job
    from udair_platform.client.synchronous.versions import Version


class ClientError(Exception):
    """Base of everything the SDK raises on purpose."""


class ConnectionFailed(ClientError):
    """Nothing answered at the platform's URL, or what answered is no platform."""


class WaitTimeout(ClientError):
    """A wait ended before the job did; the job goes on."""

    def __init__(self, job: Job | AsyncJob, timeout_s: float) -> None:
        super().__init__(f"Job {job.id} is still {job.state} after {timeout_s:g} s; it goes on.")
        self.job = job


class JobFailed(ClientError):
    """The job ended without a version."""

    def __init__(self, job: Job | AsyncJob) -> None:
        why = f"{job.reason}: {job.detail}" if job.reason else job.detail
        super().__init__(f"Job {job.id} is {job.state}. {why}".strip())
        self.job = job


class ApiError(ClientError):
    """The platform refused.

    Attributes:
        code: Stable, e.g. ``ALREADY_EXISTS``.
        status: HTTP status.
        errors: Pointers to the wrong fields, where the platform named them.
        request_id: What to quote when asking the operator.
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "",
        status: int = 0,
        errors: Sequence[dict[str, Any]] = (),
        request_id: str = "",
    ) -> None:
        super().__init__(detail)
        self.code, self.status, self.errors, self.request_id = code, status, tuple(errors), request_id


class Unauthorized(ApiError):
    """No key, or one that is not valid, expired or revoked."""


class Forbidden(ApiError):
    """The key lacks a scope."""


class NotFound(ApiError):
    """There is no such thing, for this key."""


class Conflict(ApiError):
    """The request contradicts the current state."""


class GateRejected(Conflict):
    """The gate does not let the version serve."""

    version: Version | AsyncVersion | None = None


class InvalidRequest(ApiError):
    """The request is not valid; `errors` points at the fields."""


class PlatformUnavailable(ApiError):
    """The platform cannot answer now."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    413: InvalidRequest,
    422: InvalidRequest,
}


def error_of(status: int, body: dict[str, Any]) -> ApiError:
    """The exception for a problem+json body."""
    code = str(body.get("code", ""))
    kind = GateRejected if code == "GATE_REJECTED" else _BY_STATUS.get(status)
    if kind is None:
        kind = PlatformUnavailable if status >= 500 else ApiError
    return kind(
        str(body.get("detail") or body.get("title") or f"HTTP {status}"),
        code=code,
        status=status,
        errors=[item for item in body.get("errors", []) if isinstance(item, dict)],
        request_id=str(body.get("request_id", "")),
    )
