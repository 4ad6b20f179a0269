"""What an API server answers when it does not do what was asked, and what it says while it is watched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import urllib3

from udair_platform.errors import LauncherDown
from udair_platform.telemetry import redact_text

_NOT_OF_THE_SCHEMA = "failed to create typed patch object"
Object = dict[str, Any]


class KubernetesAway(LauncherDown):
    """The server does not answer, or not now; the same request may go well later."""


class ApiRefused(Exception):
    """The server answered, and not as asked. Those that mean "not now" are KubernetesAway instead.

    Attributes:
        code: HTTP status.
        reason: Kubernetes' word for it, e.g. ``AlreadyExists``; empty if the answer was no Status.
        details: Of the Status: kind, name, causes.
    """

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    def caused_by(self, reason: str) -> bool:
        """Whether the Status names that cause."""
        return any(cause.get("reason") == reason for cause in self.details.get("causes") or ())


class Expired(Exception):
    """The server no longer knows what has changed since the version that was asked for: list anew."""


@dataclass
class Changes:
    """A watch under way; iterating gives (type, object) until the server ends it or `close` is called."""

    response: urllib3.BaseHTTPResponse
    closed: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        rest = b""
        try:
            for chunk in self.response.stream(2**16, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _watch_error(event["object"])
                    yield event["type"], event["object"]
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if not self.closed:
                raise KubernetesAway(f"The watch was cut off: {redact_text(str(error))[:200]}") from error
        finally:
            self.response.close()

    def close(self) -> None:
        """End the iteration, from any thread."""
        self.closed = True
        try:
            self.response.shutdown()
        except (ValueError, RuntimeError, OSError):  # it has ended already
            self.response.close()


def _status(data: bytes) -> Object:
    try:
        status = json.loads(data)
    except ValueError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def error_of(answer: urllib3.BaseHTTPResponse) -> ApiRefused | KubernetesAway:
    """What an answer of 400 and more means."""
    status = _status(answer.data)
    reason, details = status.get("reason") or "", status.get("details") or {}
    message = redact_text(status.get("message") or bytes(answer.data).decode(errors="replace")).strip()[:1000]
    code = answer.status
    if _NOT_OF_THE_SCHEMA in message:
        # An applied field that the schema lacks is answered 500: kubernetes/kubernetes#139253.
        return ApiRefused(HTTPStatus.BAD_REQUEST, "BadRequest", message, details)
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return KubernetesAway(f"The Kubernetes API server cannot answer now ({code}): {message[:300]}")
    return ApiRefused(code, reason, message, details)


def _watch_error(status: Object) -> Exception:
    if status.get("code") == HTTPStatus.GONE:
        return Expired()
    return KubernetesAway(f"The watch failed: {redact_text(str(status.get('message')))[:200]}")
