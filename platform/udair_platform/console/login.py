"""In and out: a key is shown once, and what the browser keeps is a cookie that names it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from udair_platform.console import session
from udair_platform.console.rendering import page
from udair_platform.console.session import Visitor
from udair_platform.errors import Unauthenticated

router = APIRouter()


@router.get("/login")
def show_login(request: Request, next: Annotated[str, Query(max_length=300)] = "/console/") -> Response:
    """Ask for a key."""
    return page(request, "login.html", None, next=_inside(next), problem="")


@router.post("/login")
def log_in(
    request: Request, key: Annotated[str, Form(max_length=5000)], next: Annotated[str, Form(max_length=300)] = ""
) -> Response:
    """Check the key and begin a session."""
    answer = RedirectResponse(_inside(next), 303)
    try:
        session.begin(request, answer, key)
    except Unauthenticated as error:
        return page(request, "login.html", None, 401, next=_inside(next), problem=error.detail)
    return answer


@router.post("/logout")
def log_out(request: Request, visitor: Visitor, form_token: Annotated[str, Form(max_length=100)]) -> Response:
    """End the session in this browser."""
    session.check_form(request, visitor, form_token)
    answer = RedirectResponse("/console/login", 303)
    session.end(answer)
    return answer


def _inside(target: str) -> str:
    """A path of the console: nobody is sent elsewhere by a link to the login."""
    fine = target.startswith("/console/") and not any(c in target for c in "\\\r\n") and "//" not in target
    return target if fine and not target.startswith("/console/login") else "/console/"
