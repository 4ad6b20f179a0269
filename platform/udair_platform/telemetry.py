"""Structured logs: JSON for machines, one readable line for people, and never a secret in either."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, cast

import structlog

REDACTED = "[redacted]"
_SECRET_NAME = re.compile(
    r"authorization|token|secret|password|passwd|api_?key|signing_?key|access_?key|cookie|credential", re.I
)
_SECRET_VALUE = (
    (re.compile(r"ak_[A-Za-z0-9-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"), f"ak_{REDACTED}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), REDACTED),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(://[^:/@\s]+):[^@/\s]+@"), rf"\1:{REDACTED}@"),
    (re.compile(r"(?i)([?&]X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s]+"), rf"\1{REDACTED}"),
)


def configure(log_format: Literal["console", "json"] = "console", level: str = "INFO") -> None:
    """Send the platform's logs to stderr in one format. Call once per process."""
    renderer: Any
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `component=name`."""
    if not structlog.is_configured():
        # structlog's own default writes to stdout, and tracebacks with every local variable in them.
        configure()
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(component=name))


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that blanks secrets by name and by shape, at any depth."""
    for name in list(event):
        event[name] = _clean(name, event[name])
    return event


def redact_text(text: str) -> str:
    """`text` without keys, tokens, passwords in URLs, and signatures of presigned URLs."""
    for pattern, replacement in _SECRET_VALUE:
        text = pattern.sub(replacement, text)
    return text


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name) and value is not None and not isinstance(value, bool | int | float):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {key: _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean("", item) for item in value]
    return value
