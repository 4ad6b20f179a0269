"""Exit codes, and what is said when something went wrong: what, why, and what to do next."""

from __future__ import annotations

OK, ERROR, USAGE, JOB_FAILED, GATE_REJECTED, NOT_FOUND, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 124, 130

# What to do next, by problem code.
_NEXT = {
    "NOT_FOUND": "udair domain list   udair job list",
    "FORBIDDEN": "udair whoami; an admin makes a key that may: udair key create NAME --role operator",
    "FOUR_EYES": "ask another approver: udair version approve NAME@VERSION",
    "KEY_INVALID": "udair whoami, then: udair login URL",
    "TOKEN_INVALID": "udair login URL",
    "KEY_EXPIRED": "ask an admin for a new key, then: udair login URL",
    "KEY_REVOKED": "ask an admin for a new key, then: udair login URL",
    "GATE_REJECTED": "udair version show NAME@VERSION   udair version gallery NAME@VERSION --open",
    "ALREADY_EXISTS": "udair domain show NAME, or choose another name",
    "INVALID_STATE": "look at what it is now: udair job show, udair version show",
    "ALIAS_MOVED": "somebody was faster: udair alias history NAME, then decide again",
    "VALIDATION_FAILED": "mend the field named above; --help says what each expects",
    "BUDGET_SPENT": "udair budget show says what is left; an admin raises a limit with udair budget set",
    "QUOTA_EXCEEDED": "wait for running jobs to end, or ask who runs the platform for more",
    "TOO_MANY_REQUESTS": "wait a little; the same command works then",
}


def exit_code_of(error: Exception) -> tuple[int | None, str]:
    """The exit code and three lines for stderr, for an error that users may meet; None for a fault of ours."""
    from udair_platform.client.errors import (
        ApiError,
        ClientError,
        ConnectionFailed,
        Forbidden,
        GateRejected,
        JobFailed,
        NotFound,
        Unauthorized,
        WaitTimeout,
    )
    from udair_platform.errors import PlatformError

    if isinstance(error, ApiError):
        code = (
            GATE_REJECTED
            if isinstance(error, GateRejected)
            else NOT_FOUND
            if isinstance(error, NotFound | Forbidden | Unauthorized)
            else ERROR
        )
        return code, _api(error)
    if isinstance(error, ConnectionFailed):
        return ERROR, format_error(
            f"CONNECTION_FAILED: {error}", "nothing answers there, or it is no platform", "udair doctor"
        )
    if isinstance(error, JobFailed):
        return JOB_FAILED, _failed(error.job.id, str(error), error.job.reason)
    if isinstance(error, WaitTimeout):
        return TIMED_OUT, format_error(str(error), "--timeout has passed", f"udair job wait {error.job.id}")
    if isinstance(error, PlatformError):
        return ERROR, format_error(f"{error.code}: {error.detail}")
    if isinstance(error, ClientError):
        return ERROR, format_error(str(error))
    return None, ""


def format_error(what: str, why: str = "", next: str = "") -> str:
    """What happened; why; what to do next."""
    return "\n".join([what, *([f"why   {why}"] if why else []), *([f"next  {next}"] if next else [])])


def _api(error: object) -> str:
    from udair_platform.client.errors import ApiError

    assert isinstance(error, ApiError)
    code = error.code or "ERROR"
    asked = f", request {error.request_id}" if error.request_id else ""
    status = f"the platform answered {error.status}{asked}" if error.status else ""
    next = _NEXT.get(code) or (
        "udair doctor; quote the request to who runs the platform" if error.status >= 500 else ""
    )
    return format_error(f"{code}: {error}", status, next)


def _failed(job: str, what: str, reason: str | None) -> str:
    from udair_platform.entities.failure_reasons import ENDINGS, UNKNOWN_ENDING

    why, remedy = ENDINGS.get(reason or "", UNKNOWN_ENDING)
    return format_error(what, why, f"{remedy}  udair job logs {job}   udair job retry {job}")
