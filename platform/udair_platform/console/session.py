"""Who looks at the console: a cookie that names a key, signed, for twelve hours; never the key itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from udair_platform.api.context import Context, context_of
from udair_platform.api.principal import Principal, principal_of, refused
from udair_platform.errors import Forbidden, TooManyRequests, Unauthenticated
from udair_platform.keys import Claims
from udair_platform.roles import Scope
from udair_platform.services import api_keys
from udair_platform.signing import Purpose, same, seal, sign, unseal

COOKIE = "udair_console"
LASTS_S = 12 * 3600


@dataclass(frozen=True)
class Session:
    """A key that was presented, and the token that every form must carry (CSRF)."""

    principal: Principal
    form_token: str


def begin(request: Request, response: Response, token: str) -> None:
    """Check a key and give the browser its cookie.

    Raises:
        Unauthenticated: The key is not good.
        TooManyRequests: This address has tried too many.
    """
    context = context_of(request)
    try:
        principal = principal_of(context, f"Bearer {token}")
        if principal.user is not None:
            raise Unauthenticated("The console takes API keys, not tokens of the OpenID provider.")
    except Unauthenticated:
        refused(request)
        raise
    remember(request, response, tenant=principal.tenant, kid=principal.claims.kid)


def remember(request: Request, response: Response, *, tenant: str, kid: str) -> None:
    """Give the browser the cookie of a key that was checked."""
    context = context_of(request)
    until = context.clock().timestamp() + LASTS_S
    body = json.dumps([tenant, kid, until]).encode()
    response.set_cookie(
        COOKIE,
        seal(context.signing_key, Purpose.CONSOLE_SESSION, body),
        max_age=LASTS_S,
        path="/console",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def end(request: Request, response: Response, session: Session) -> None:
    """End every session of the key, those of copied cookies too, and forget the browser."""
    claims = session.principal.claims
    with context_of(request).change(session.principal) as tx:
        api_keys.log_out(tx, tenant=claims.tenant, kid=claims.kid)
    response.delete_cookie(COOKIE, path="/console")


def current(request: Request) -> Session:
    """The session of a request. The key is looked up every time, so that a revoked one ends it at once.

    Raises:
        Unauthenticated: There is none, or it has ended.
    """
    context, cookie = context_of(request), request.cookies.get(COOKIE, "")
    body = unseal(context.signing_key, Purpose.CONSOLE_SESSION, cookie)
    if not body:
        raise Unauthenticated("Log in with an API key.")
    tenant, kid, until = json.loads(body)
    if context.clock().timestamp() >= until:
        raise Unauthenticated("The session has ended after twelve hours; log in again.")
    form_token = sign(context.signing_key, Purpose.CONSOLE_FORM, cookie.encode()).hex()
    return Session(Principal(_claims_of(context, tenant, kid, begun=until - LASTS_S)), form_token)


def visit(request: Request) -> Session:
    """The session of a request, which is counted against its key's limit like a request to the API.

    Raises:
        Unauthenticated: See `current`.
        TooManyRequests: The key has been used too often within a minute.
    """
    session = current(request)
    standing = context_of(request).limits.count(session.principal.claims.kid)
    if standing is not None:
        request.state.headers = standing.headers
        if standing.exceeded:
            detail = f"This key has asked for {standing.limit} pages and answers within a minute; wait a little."
            raise TooManyRequests(detail, retry_after_s=standing.reset_s)
    return session


def read(request: Request) -> Session:
    """The session of a request for a page. Raises Forbidden without `domain:read`; see `visit`."""
    session = visit(request)
    claims = session.principal.claims
    if not claims.allows("domain:read"):
        raise Forbidden(f"The key ak_{claims.kid} has {', '.join(claims.scopes)}; pages need domain:read.")
    return session


def read_tenant(request: Request) -> Session:
    """As `read`, for what belongs to no domain. Raises Forbidden for a key that is limited to some."""
    session = read(request)
    claims = session.principal.claims
    if claims.domains is not None:
        raise Forbidden(f"The key ak_{claims.kid} is limited to its domains; this page is of the whole tenant.")
    return session


def administer(request: Request) -> Session:
    """As the API's `Admin`. Raises Forbidden for other keys, and for one that is limited to some domains."""
    session = visit(request)
    claims = session.principal.claims
    if not claims.allows("admin") or claims.domains is not None:
        raise Forbidden(f"The key ak_{claims.kid} is no admin key of the whole tenant, which this page needs.")
    return session


Visitor = Annotated[Session, Depends(visit)]
Reader = Annotated[Session, Depends(read)]
TenantReader = Annotated[Session, Depends(read_tenant)]
Admin = Annotated[Session, Depends(administer)]


def check_form(request: Request, session: Session, token: str) -> None:
    """Refuse a form that our own pages did not send.

    Raises:
        Forbidden: It came from elsewhere.
    """
    origin = request.headers.get("Origin")
    foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
    if foreign or not same(session.form_token.encode(), token.encode()):
        raise Forbidden("The form was not sent by this page; reload it and try again.")


def allowed(request: Request, session: Session, token: str, scope: Scope) -> Principal:
    """Who sent a form of ours, and may do what it asks for.

    Raises:
        Forbidden: It came from elsewhere, or the key lacks the scope.
    """
    check_form(request, session, token)
    claims = session.principal.claims
    if not claims.allows(scope):
        raise Forbidden(f"The key ak_{claims.kid} has {', '.join(claims.scopes)}; this needs {scope}.")
    return session.principal


def _claims_of(context: Context, tenant: str, kid: str, *, begun: float) -> Claims:
    with context.database.read() as state:
        key = state.keys.find(tenant, kid)
    if key is None or (key.revoked_time is not None and key.revoked_time <= context.clock()):
        raise Unauthenticated("The key is not good any more; log in with another.")
    if key.expires_time is not None and key.expires_time <= context.clock():
        raise Unauthenticated("The key has expired; log in with another.")
    if key.logged_out_time is not None and begun < key.logged_out_time.timestamp():
        raise Unauthenticated("Somebody logged out with this key, which ended its sessions; log in again.")
    exp = None if key.expires_time is None else int(key.expires_time.timestamp())
    return Claims(key.kid, key.tenant, key.scopes, key.domains, exp)
