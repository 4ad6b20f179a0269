"""API keys: created, rotated, listed, revoked. A token is in the reply that makes it and nowhere else."""

from __future__ import annotations

from fastapi import APIRouter, Request

from udair_platform.api.context import Ctx
from udair_platform.api.middleware.idempotency import derived
from udair_platform.api.paging import Paged
from udair_platform.api.principal import Admin, AnyKey
from udair_platform.api.schemas import KeyCreate, KeyRotate
from udair_platform.contract.keys import ApiKey, LoginLink, NewApiKey
from udair_platform.contract.pages import KeyPage
from udair_platform.errors import Invalid
from udair_platform.roles import ROLES
from udair_platform.services import api_keys, login_links

# No IdempotentRoute: it would store the token. The derived kid makes a repeated request the same.
router = APIRouter(prefix="/v1/apiKeys", tags=["keys"])
links = APIRouter(prefix="/v1/loginLinks", tags=["keys"])


@router.post("", status_code=201)
def create_key(body: KeyCreate, request: Request, context: Ctx, who: Admin) -> NewApiKey:
    """A new key of the caller's tenant. An Idempotency-Key shows an equal key again."""
    with context.change(who) as tx:
        key, token = api_keys.create_key(
            tx,
            context.signing_key,
            tenant=who.tenant,
            name=body.name,
            scopes=ROLES[body.role] if body.role else body.scopes or (),
            domains=body.domains,
            expires=body.expires_time,
            kid=derived(request, "k", who),
        )
    return NewApiKey.describe(key, token=token)


@router.get("")
def list_keys(page: Paged, context: Ctx, who: Admin) -> KeyPage:
    """Keys, oldest first, revoked ones too."""
    with context.database.read() as state:
        found = state.keys.page(who.tenant, after=page.after, size=page.size + 1)
    shown, token = page.cut(found, lambda key: key.seq)
    return KeyPage(keys=[ApiKey.describe(key) for key in shown], next_page_token=token)


@links.post("", status_code=201)
def create_login_link(request: Request, context: Ctx, who: AnyKey) -> LoginLink:
    """A link that logs a browser in to the console as the caller's key: once, within 15 minutes."""
    if who.user is not None:
        raise Invalid("The console takes API keys, and so do login links; make one with `udair key create`.")
    token, until = login_links.make(context.tickets, tenant=who.tenant, kid=who.claims.kid)
    return LoginLink(url=f"{request.base_url}console/login?once={token}", expires_time=until)


@router.post("/{kid}:rotate", status_code=201)
def rotate_key(kid: str, request: Request, context: Ctx, who: Admin, body: KeyRotate | None = None) -> NewApiKey:
    """A key that says the same takes the place of `kid`. An Idempotency-Key shows the new one again."""
    grace_s, new = body.grace_s if body else 0, derived(request, "k", who)
    with context.change(who) as tx:
        key, token = api_keys.rotate_key(tx, context.signing_key, tenant=who.tenant, kid=kid, grace_s=grace_s, new=new)
    return NewApiKey.describe(key, token=token)


@router.post("/{kid}:revoke")
def revoke_key(kid: str, context: Ctx, who: Admin) -> ApiKey:
    """Take a key back. Revoking a revoked key changes nothing."""
    with context.change(who) as tx:
        key = api_keys.revoke_key(tx, tenant=who.tenant, kid=kid)
    return ApiKey.describe(key)
