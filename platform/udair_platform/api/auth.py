"""Who is asking, and whether they may. Every route but health goes through here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from udair_platform.api.context import context_of
from udair_platform.entities.domain import Domain
from udair_platform.errors import Forbidden, KeyInvalid, KeyRevoked, NotFound, Unauthenticated
from udair_platform.keys import Claims, Scope, verify
from udair_platform.state.repositories import State

_bearer = HTTPBearer(auto_error=False, description="An API key: ak_….….…")


@dataclass(frozen=True)
class Principal:
    """The bearer of a key that was checked."""

    claims: Claims

    @property
    def tenant(self) -> str:
        """Whose data it may see."""
        return self.claims.tenant

    @property
    def actor(self) -> str:
        """How events name it."""
        return f"key:{self.claims.kid}"

    def domain(self, state: State, name: str) -> Domain:
        """The domain called `name`, if it is the bearer's to see.

        Raises:
            NotFound: There is none, it is another tenant's, or the key does not reach it.
        """
        if not self.claims.reaches(name):
            raise NotFound(f"There is no domain {name!r}. `udair domain list` shows those that you may see.")
        return state.domains.get(self.tenant, name)


def authenticate(request: Request) -> Principal:
    """The bearer of the request's key; asked once per request.

    Raises:
        Unauthenticated: No key, or one that is malformed, forged, expired, unknown or revoked.
    """
    known = getattr(request.state, "principal", None)
    if isinstance(known, Principal):
        return known
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The request has no key. Send the header `Authorization: Bearer ak_…`.")
    context = context_of(request)
    claims = verify(context.signing_key, token.strip(), context.clock().timestamp())
    with context.database.read() as state:
        key = state.keys.find(claims.tenant, claims.kid)
    if key is None:
        raise KeyInvalid(f"The key ak_{claims.kid} is not known here.")
    if key.revoked_time is not None:
        raise KeyRevoked(f"The key ak_{claims.kid} was revoked. Create a new one with `udair key create`.")
    principal = Principal(claims)
    request.state.principal = principal
    return principal


def require(scope: Scope | None) -> Callable[..., Principal]:
    """A dependency that lets in who has `scope`; with None, anybody who has a key."""

    def dependency(
        request: Request,
        _shown: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    ) -> Principal:
        principal = authenticate(request)
        if scope is not None and not principal.claims.allows(scope):
            had = ", ".join(principal.claims.scopes)
            raise Forbidden(f"The key ak_{principal.claims.kid} has {had}; this needs {scope}.")
        return principal

    return dependency


AnyKey = Annotated[Principal, Depends(require(None))]
DomainReader = Annotated[Principal, Depends(require("domain:read"))]
DomainWriter = Annotated[Principal, Depends(require("domain:write"))]
JobRunner = Annotated[Principal, Depends(require("job:run"))]
Approver = Annotated[Principal, Depends(require("version:approve"))]
Admin = Annotated[Principal, Depends(require("admin"))]
