"""Templates and what they need to say things well."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from udair_platform.api.context import context_of
from udair_platform.console import wording
from udair_platform.console.session import Session
from udair_platform.entities import gate_checks

STATIC = Path(__file__).parent / "static"


def page(request: Request, name: str, session: Session | None, status: int = 200, /, **values: Any) -> HTMLResponse:
    """Render a template.

    Args:
        session: Whose page it is; None for those that need none.
    """
    context = context_of(request)
    html = _ENVIRONMENT.get_template(name).render(session=session, path=request.url.path, now=context.clock(), **values)
    return HTMLResponse(html, status)


@cache
def asset(name: str) -> str:
    """The address of a static file. It changes with the file, so that browsers may keep what they have."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/console/static/{name}?v={digest}"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "ago": wording.ago,
    "number": wording.number,
    "plain": "{:g}".format,
    "duration": wording.duration,
    "percent": wording.percent,
    "bar": wording.bar,
    "ending": wording.ending,
    "asks": gate_checks.asks,
    "remedy": gate_checks.remedy,
}
_ENVIRONMENT.globals["asset"] = asset
