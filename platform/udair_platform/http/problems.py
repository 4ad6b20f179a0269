"""Every refusal as RFC 9457 `application/problem+json`, with a stable code and the request's id."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from udair_platform.errors import (
    BadRequest,
    BodyTooLarge,
    FieldError,
    Invalid,
    PlatformError,
    Unauthenticated,
)
from udair_platform.telemetry import logger, redact_text

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2
_CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}
_log = logger("api")


def problem(error: PlatformError, request_id: str, instance: str) -> JSONResponse:
    """The reply that says `error`."""
    headers = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = f'Bearer error="{error.code.lower()}"'
    if error.retryable:
        headers["Retry-After"] = str(error.retry_after_s or RETRY_AFTER_S)
    return _reply(
        error.status,
        error.code,
        error.title,
        error.detail,
        request_id,
        instance,
        error.errors,
        (error.retry_after_s or RETRY_AFTER_S) if error.retryable else None,
        headers,
    )


def install(app: FastAPI) -> None:
    """Answer every refusal of `app` with a problem; what nobody expected is answered by the edge."""

    def of(request: Request) -> tuple[str, str]:
        return getattr(request.state, "request_id", ""), request.url.path

    async def platform_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, PlatformError)
        if error.status >= 500:
            _log.warning("refused", code=error.code, detail=error.detail)
        return problem(error, *of(request))

    async def validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return problem(_invalid(error), *of(request))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "HTTP_ERROR")
        title = HTTPStatus(error.status_code).phrase
        headers = dict(error.headers or {})
        return _reply(error.status_code, code, title, str(error.detail), *of(request), headers=headers)

    app.add_exception_handler(PlatformError, platform_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)


def _invalid(error: RequestValidationError) -> PlatformError:
    items = error.errors()
    if any(item["type"] == "json_invalid" for item in items):
        return BadRequest("The body is no JSON.")
    fields = [FieldError(_pointer(item["loc"]), redact_text(str(item["msg"]))) for item in items[:50]]
    detail = "; ".join(f"{field.pointer or '/'}: {field.detail}" for field in fields[:5])
    outside = any(item["loc"] and item["loc"][0] in ("query", "header") for item in items)
    return (BadRequest if outside else Invalid)(detail, errors=fields)


def _pointer(location: Sequence[str | int]) -> str:
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in location]
    if parts and parts[0] == "body":
        parts = parts[1:]
    return "".join(f"/{part}" for part in parts)


def _reply(
    status: int,
    code: str,
    title: str,
    detail: str,
    request_id: str,
    instance: str,
    errors: Sequence[FieldError] = (),
    retry_after_s: int | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    body: dict[str, object] = {
        "type": f"urn:udair:problem:{code.lower().replace('_', '-')}",
        "title": title,
        "status": status,
        "detail": redact_text(detail),
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "retryable": retry_after_s is not None,
    }
    if errors:
        body["errors"] = [{"pointer": item.pointer, "detail": redact_text(item.detail)} for item in errors]
    if retry_after_s is not None:
        body["retry_after_s"] = retry_after_s
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


def too_large(limit: int) -> BodyTooLarge:
    """The refusal of a body above `limit` bytes."""
    return BodyTooLarge(f"The body has more than {limit} bytes, which is the most that the control API reads.")
