"""Somebody who looks at the console over HTTP: what a browser sends, and what of a page a person reads."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from udair_platform.console.app import create_console


def open_console(plane: Any) -> Any:
    """Mount the console on the plane's application, and log in as its admin; the client follows no redirects."""
    app = plane.client.app
    app.mount("/console", create_console(app.state.context))
    plane.client.headers.pop("Authorization")
    plane.client.follow_redirects = False
    log_in(plane)
    return plane


def log_in(plane: Any, token: str | None = None) -> None:
    """Begin a session with a key, the admin's unless one is given."""
    plane.client.cookies.clear()
    answer = plane.client.post("/console/login", data={"key": token or plane.admin_token})
    assert answer.status_code == 303


def read(plane: Any, path: str) -> str:
    """The HTML of a page that is shown."""
    answer = plane.client.get(f"/console{path}")
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def words(html: str) -> str:
    """The text of a page, with single spaces."""
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))
    return re.sub(r" ([.,:])", r"\1", text)


def form_token(plane: Any) -> str:
    """What every form of the session carries."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', read(plane, "/"))
    assert found is not None
    return found.group(1)
