"""Exit codes: what a script may rely on."""

from __future__ import annotations

OK, ERROR, USAGE, JOB_FAILED, GATE_REJECTED, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 124, 130


def exit_code_of(error: Exception) -> tuple[int | None, str]:
    """The exit code and the line on stderr for an error that users may meet; None for a fault of ours."""
    from udair_platform.client.errors import (
        ApiError,
        ClientError,
        Forbidden,
        GateRejected,
        JobFailed,
        NotFound,
        Unauthorized,
        WaitTimeout,
    )
    from udair_platform.errors import PlatformError

    if isinstance(error, GateRejected):
        return GATE_REJECTED, f"GATE_REJECTED: {error}"
    if isinstance(error, NotFound | Forbidden | Unauthorized):
        return NOT_FOUND, f"{error.code}: {error}"
    if isinstance(error, JobFailed):
        return JOB_FAILED, str(error)
    if isinstance(error, WaitTimeout):
        return TIMED_OUT, str(error)
    if isinstance(error, ApiError):
        asked = f" (request {error.request_id})" if error.status >= 500 and error.request_id else ""
        return ERROR, f"{error.code or 'ERROR'}: {error}{asked}"
    if isinstance(error, PlatformError):
        return ERROR, f"{error.code}: {error.detail}"
    if isinstance(error, ClientError):
        return ERROR, str(error)
    return None, ""
