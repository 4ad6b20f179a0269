"""Templates and what they need to say things well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from udair_platform.api.context import context_of
from udair_platform.console.session import Session

# What a person may do about the way in which a job ended.
NEXT_STEPS: Mapping[str, str] = {
    "DATA_EMPTY": "Put images below the domain's source and run it again.",
    "DATA_UNREADABLE": "Look at the skipped objects of its snapshot; upload images that can be decoded.",
    "ACCESS_DENIED": "Check the domain's access: the role, its external id, and the bucket's policy.",
    "TOO_FEW_IMAGES": "Add images: the gate needs to hold some back.",
    "INVALID_SPEC": "Correct the recipe and run it again.",
    "USER_CANCELLED": "Run it again if that was a mistake.",
    "NAN_LOSS": "Run it again with a lower learning rate; the source model serves meanwhile.",
    "DIVERGED": "Run it again with a lower learning rate; the source model serves meanwhile.",
    "NO_CAPACITY": "Nothing to do: it is tried again when there is room.",
    "QUOTA_EXCEEDED": "Wait for other jobs to end, or ask for a higher quota.",
    "PREEMPTED": "Nothing to do: it goes on from its last phase.",
    "OOM": "Lower the patch or batch of the recipe, or give jobs more memory.",
    "PENDING_TIMEOUT": "The cluster had no room for a day; add capacity and run it again.",
    "RUN_TIMEOUT": "Give it fewer images or steps, or a longer limit.",
    "HEARTBEAT_LOST": "Look at the end of its log; run it again.",
    "NODE_LOST": "Nothing to do: its attempts are used up by lost nodes; run it again.",
    "CONTROLLER_ERROR": "Look at its log; if that says nothing, tell whoever runs the platform.",
}


def page(request: Request, name: str, session: Session | None, status: int = 200, /, **values: Any) -> HTMLResponse:
    """Render a template.

    Args:
        session: Whose page it is; None for those that need none.
    """
    context = context_of(request)
    html = _ENVIRONMENT.get_template(name).render(
        session=session, path=request.url.path, now=context.clock(), next_steps=NEXT_STEPS, **values
    )
    return HTMLResponse(html, status)


def _ago(time: datetime | None, now: datetime) -> str:
    if time is None:
        return "never"
    seconds = (now - time).total_seconds()
    if abs(seconds) < 60:
        return "just now" if seconds >= 0 else "in a moment"
    size, unit = next(
        (size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "min")) if abs(seconds) >= size
    )  # fmt: skip
    number = round(abs(seconds) / size)
    return f"{number} {unit} ago" if seconds > 0 else f"in {number} {unit}"


def _number(value: float | int | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u2009")
    return f"{value + 0.0:.3g}" if abs(value) >= 5e-4 else "0"


def _width(check: Mapping[str, Any]) -> int:
    """How far a measurement goes towards its limit, 0 to 100, for a bar."""
    measured, limit = check.get("measured"), check.get("limit")
    if measured is None or limit is None:
        return 0
    if limit == 0:
        return 0 if check.get("passed") else 100
    return int(max(0.0, min(1.0, abs(measured) / (1.25 * abs(limit)))) * 100)


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"ago": _ago, "number": _number, "width": _width}
