"""Who is asking, and whether they may. Every route but health goes through here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from udair_platform.api.context import Context, context_of
from udair_platform.entities.domain import Domain
from udair_platform.entities.names import derived_id
from udair_platform.errors import Forbidden, KeyInvalid, KeyRevoked, NotFound, TooManyRequests, Unauthenticated
from udair_platform.keys import Claims, verify
from udair_platform.roles import ROLES, Scope
from udair_platform.state.repositories import State

_COMPARED = 500  # domains whose names a wrong one is compared with
_bearer = HTTPBearer(
    auto_error=False, description="An API key, ak_….….…, or a token of the platform's OpenID provider."
)
Shown = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]  # for the schema


@dataclass(frozen=True)
class Principal:
    """The bearer of a key, or the user of a token, that was checked.

    Attributes:
        claims: What it may do; the `kid` of a user is made up of issuer and subject.
        user: The subject of a token; None for a key.
    """

    claims: Claims
    user: str | None = None

    @property
    def tenant(self) -> str:
        """Whose data it may see."""
        return self.claims.tenant

    @property
    def actor(self) -> str:
        """How events name it."""
        return f"key:{self.claims.kid}" if self.user is None else f"user:{self.user}"

    def domain(self, state: State, name: str) -> Domain:
        """The domain called `name`, if it is the bearer's to see.

        Raises:
            NotFound: There is none, it is another tenant's, or the key does not reach it.
        """
        try:
            if self.claims.reaches(name):
                return state.domains.get(self.tenant, name)
        except NotFound:
            pass
        known = state.domains.page(self.tenant, names=self.claims.domains, size=_COMPARED)
        raise NotFound(
            f"There is no domain {name[:63]!r}.{meant(name, [domain.name for domain in known])} `udair domain list` "
            "shows those that you may see."
        )


def meant(name: str, known: Sequence[str]) -> str:
    """The question whether another of the names that the bearer may see was meant; empty if none is like it."""
    near = difflib.get_close_matches(name[:63], known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def authenticate(request: Request) -> Principal:
    """Who sends the request; asked, and counted against the limits, once per request.

    Raises:
        Unauthenticated: No key or token, or one that is malformed, forged, expired, unknown or revoked.
        Forbidden: A token that is good and gives no role, or no tenant, here.
        IdentityDown: The token's key is not known, and the provider does not answer.
        TooManyRequests: The bearer, or this address with bad keys, has asked too often.
    """
    known = getattr(request.state, "principal", None)
    if isinstance(known, Principal):
        return known
    context = context_of(request)
    try:
        principal = principal_of(context, request.headers.get("Authorization", ""))
    except Unauthenticated:
        refused(request)
        raise
    request.state.principal = principal
    standing = context.limits.count(principal.claims.kid)
    if standing is not None:
        request.state.headers = standing.headers
        if standing.exceeded:
            detail = f"{principal.actor} has sent {standing.limit} requests within a minute; no more are answered."
            raise TooManyRequests(detail, retry_after_s=standing.reset_s)
    return principal


def refused(request: Request) -> None:
    """Count a bad key against its address. Raises TooManyRequests."""
    context_of(request).limits.refused(request.client.host if request.client else "")


def principal_of(context: Context, authorization: str) -> Principal:
    """Who a header `Authorization` speaks for; not counted against any limit.

    Raises:
        Unauthenticated, Forbidden, IdentityDown: See `authenticate`.
    """
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The request has no key. Send the header `Authorization: Bearer ak_…`.")
    if context.identity is not None and not token.startswith("ak_"):
        return _user(context, token)
    now = context.clock()
    claims = verify(context.signing_key, token, now.timestamp(), previous=context.previous_signing_key)
    with context.database.read() as state:
        key = state.keys.find(claims.tenant, claims.kid)
    if key is None:
        raise KeyInvalid(f"The key ak_{claims.kid} is not known here.")
    if key.revoked_time is not None and key.revoked_time <= now:
        raise KeyRevoked(f"The key ak_{claims.kid} was revoked. Create a new one with `udair key create`.")
    return Principal(claims)


def _user(context: Context, token: str) -> Principal:
    assert context.identity is not None
    user = context.identity.verify(token)
    with context.database.read() as state:
        if not state.tenants.exists(user.tenant):
            raise Forbidden(f"The token is of tenant {user.tenant[:63]!r}, which is not known here.")
    scopes = tuple(sorted({scope for role in user.roles for scope in ROLES[role]}))
    return Principal(Claims(derived_id("u", user.issuer, user.subject), user.tenant, scopes), user.subject)


def require(scope: Scope | None, *, whole_tenant: bool = False) -> Callable[..., Principal]:
    """A dependency that lets in who has `scope`; with None, anybody who has a key.

    Args:
        whole_tenant: Not a key that is limited to some domains: it would see, or make, more than itself.
    """

    def dependency(request: Request, _shown: Shown = None) -> Principal:
        principal = authenticate(request)
        if scope is not None and not principal.claims.allows(scope):
            had = ", ".join(principal.claims.scopes)
            raise Forbidden(f"{principal.actor} has {had}; this needs {scope}.")
        if whole_tenant and principal.claims.domains is not None:
            raise Forbidden(f"{principal.actor} is limited to its domains; this needs a key of the whole tenant.")
        return principal

    return dependency


AnyKey = Annotated[Principal, Depends(require(None))]
DomainReader = Annotated[Principal, Depends(require("domain:read"))]
TenantReader = Annotated[Principal, Depends(require("domain:read", whole_tenant=True))]
DomainWriter = Annotated[Principal, Depends(require("domain:write"))]
JobRunner = Annotated[Principal, Depends(require("job:run"))]
Approver = Annotated[Principal, Depends(require("version:approve"))]
Admin = Annotated[Principal, Depends(require("admin", whole_tenant=True))]
