"""API keys created and taken back. A key is shown once and never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from udair_platform.entities.api_key import ApiKey
from udair_platform.errors import AlreadyExists, FieldError, Invalid, InvalidState, NotFound
from udair_platform.keys import MAX_TOKEN_CHARS, Claims, issue, new_kid
from udair_platform.roles import SCOPES
from udair_platform.services.change import Change
from udair_platform.state.repositories import State


def create_key(
    tx: Change,
    signing_key: bytes,
    *,
    tenant: str,
    name: str,
    scopes: Sequence[str],
    domains: Sequence[str] | None = None,
    expires: datetime | None = None,
    kid: str | None = None,
) -> tuple[ApiKey, str]:
    """A new key of `tenant`, and the token that its bearer presents.

    Args:
        kid: A name derived from an idempotency key: an equal key of that name is shown again.

    Raises:
        Invalid: A scope is unknown, the expiry has passed, or there are too many domains; points at the field.
        AlreadyExists: `kid` names a key that says something else.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        detail = f"scopes {unknown} are unknown; expected some of {', '.join(SCOPES)}."
        raise Invalid(detail, errors=[FieldError("/scopes", detail)])
    if expires is not None and expires <= tx.now:
        detail = f"expires_time {expires.isoformat()} has passed; expected a time to come."
        raise Invalid(detail, errors=[FieldError("/expires_time", detail)])
    key = ApiKey(
        kid=kid or new_kid(),
        tenant=tenant,
        name=name,
        scopes=tuple(scopes),
        domains=None if domains is None else tuple(domains),
        created_time=tx.now,
        expires_time=expires,
    )
    token = token_of(signing_key, key)
    if len(token) > MAX_TOKEN_CHARS:
        detail = (
            f"{len(domains or ())} domains make a key of {len(token)} characters; expected at most {MAX_TOKEN_CHARS}."
        )
        raise Invalid(detail, errors=[FieldError("/domains", detail)])
    known = tx.state.keys.find(tenant, key.kid)
    if known is not None:
        same = (known.name, known.scopes, known.domains) == (key.name, key.scopes, key.domains)
        if not same or known.revoked_time:
            raise AlreadyExists(f"Key {key.kid} was created by another request with the same idempotency key.")
        return known, token_of(signing_key, known)
    tx.state.keys.add(key)
    data = {"scopes": list(scopes), "domains": list(domains) if domains is not None else None}
    tx.record(key, "key.created", data)
    return key, token


def revoke_key(tx: Change, *, tenant: str, kid: str) -> ApiKey:
    """Take a key back; it stops working here at once, and at the data plane with the next routes.

    Raises:
        NotFound: The tenant has no such key.
    """
    key, changed = tx.state.keys.revoke(tenant, kid, at=tx.now)
    if changed:
        tx.record(key, "key.revoked")
        tx.routes_changed()
    return key


def log_out(tx: Change, *, tenant: str, kid: str) -> None:
    """End every session of the console that the key has begun, wherever its cookie is by now."""
    key = tx.state.keys.find(tenant, kid)
    if key is not None:
        tx.state.keys.log_out(tenant, kid, at=tx.now)
        tx.record(key, "key.logged_out")


def rotate_key(
    tx: Change, signing_key: bytes, *, tenant: str, kid: str, grace_s: int, new: str | None = None
) -> tuple[ApiKey, str]:
    """A key that says the same as `kid` and takes its place, and the new key's token.

    The old key is revoked `grace_s` seconds from now.

    Args:
        new: A name derived from an idempotency key: the key of that name is shown again, and nothing done.

    Raises:
        NotFound: The tenant has no such key.
        InvalidState: It has expired, or was revoked or replaced before.
    """
    known = tx.state.keys.find(tenant, new) if new else None
    if known is not None:
        return known, token_of(signing_key, known)
    old = tx.state.keys.find(tenant, kid)
    if old is None:
        raise NotFound(f"There is no key {kid!r}. `udair key list` shows yours.")
    if old.revoked_time is not None:
        raise InvalidState(f"Key {kid} is revoked from {old.revoked_time.isoformat()} on; create a new one.")
    if old.expires_time is not None and old.expires_time <= tx.now:
        raise InvalidState(f"Key {kid} expired {old.expires_time.isoformat()}; create a new one.")
    key = replace(old, kid=new or new_kid(), first_kid=old.first_kid or old.kid, created_time=tx.now, seq=0)
    tx.state.keys.add(key)
    tx.state.keys.revoke(tenant, kid, at=tx.now + timedelta(seconds=grace_s))
    tx.record(key, "key.created", {"replaces": kid})
    tx.record(old, "key.rotated", {"replaced_by": key.kid, "grace_s": grace_s})
    tx.routes_changed()
    return key, token_of(signing_key, key)


def bearer_of(state: State, tenant: str, actor: str) -> str:
    """`actor`, whichever key it has by now: one that was rotated is the same bearer's."""
    kind, _, kid = actor.partition(":")
    key = state.keys.find(tenant, kid) if kind == "key" else None
    return actor if key is None else f"{kind}:{key.first_kid or key.kid}"


def token_of(signing_key: bytes, key: ApiKey) -> str:
    """The token of `key`: it follows from the signing key and what the key says."""
    exp = None if key.expires_time is None else int(key.expires_time.timestamp())
    return issue(signing_key, Claims(key.kid, key.tenant, key.scopes, key.domains, exp))
