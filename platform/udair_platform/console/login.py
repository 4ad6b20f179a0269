"""In and out: a key is shown once, and what the browser keeps is a cookie that names it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from udair_platform.api.context import context_of
from udair_platform.api.principal import refused
from udair_platform.console import session
from udair_platform.console.rendering import page
from udair_platform.console.session import Visitor
from udair_platform.errors import PlatformError, Unauthenticated
from udair_platform.services import login_links

router = APIRouter()


@dataclass(frozen=True)
class Bearer:
    """Who acts where a link does, before it is known whose."""

    actor: str


_LINK = Bearer("console:login-link")
_ENDED = "The session had ended, so nothing was done. Log in, and do it again."


@router.get("/login")
def show_login(
    request: Request,
    next: Annotated[str, Query(max_length=300)] = "/console/",
    ended: bool = False,
    once: Annotated[str, Query(max_length=1000)] = "",
) -> Response:
    """Ask for a key; say so where a form was sent after the session had ended."""
    if once:
        return _by_link(request, once)
    return page(request, "login.html", None, next=_inside(next), problem=_ENDED if ended else "")


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
    """End the key's sessions, in this browser and wherever its cookies are."""
    session.check_form(request, visitor, form_token)
    answer = RedirectResponse("/console/login", 303)
    session.end(request, answer, visitor)
    return answer


def _by_link(request: Request, token: str) -> Response:
    """Begin a session by a link that works once.

    A page leads on, no redirect: the cookie is for requests from our own pages, and where the link was clicked may be another.
    """
    context = context_of(request)
    try:
        with context.change(_LINK) as tx:
            key = login_links.use(tx, context.tickets, token)
    except Unauthenticated as error:
        with suppress(PlatformError):
            session.current(request)
            return RedirectResponse("/console/", 303)  # whoever is logged in has followed it before
        refused(request)
        return page(request, "login.html", None, 401, next="/console/", problem=error.detail)
    answer = page(request, "welcome.html", None)
    session.remember(request, answer, tenant=key.tenant, kid=key.kid)
    return answer


def _inside(target: str) -> str:
    """A path of the console: nobody is sent elsewhere by a link to the login."""
    fine = target.startswith("/console/") and not any(c in target for c in "\\\r\n") and "//" not in target
    return target if fine and not target.startswith("/console/login") else "/console/"
