"""API keys created and taken back. A key is shown once and never stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from udair_platform.documents import routes
from udair_platform.entities.api_key import ApiKey
from udair_platform.errors import AlreadyExists, FieldError, Invalid, InvalidState, NotFound
from udair_platform.keys import MAX_TOKEN_CHARS, Claims, issue, new_kid
from udair_platform.roles import SCOPES
from udair_platform.state.repositories import State


def create_key(
    state: State,
    signing_key: bytes,
    *,
    tenant: str,
    name: str,
    scopes: Sequence[str],
    domains: Sequence[str] | None,
    expires: datetime | None,
    actor: str,
    now: datetime,
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
    if expires is not None and expires <= now:
        detail = f"expires_time {expires.isoformat()} has passed; expected a time to come."
        raise Invalid(detail, errors=[FieldError("/expires_time", detail)])
    key = ApiKey(
        kid=kid or new_kid(),
        tenant=tenant,
        name=name,
        scopes=tuple(scopes),
        domains=None if domains is None else tuple(domains),
        created_time=now,
        expires_time=expires,
    )
    token = token_of(signing_key, key)
    if len(token) > MAX_TOKEN_CHARS:
        detail = (
            f"{len(domains or ())} domains make a key of {len(token)} characters; expected at most {MAX_TOKEN_CHARS}."
        )
        raise Invalid(detail, errors=[FieldError("/domains", detail)])
    known = state.keys.find(tenant, key.kid)
    if known is not None:
        if (known.name, known.scopes, known.domains) != (
            key.name,
            key.scopes,
            key.domains,
        ) or known.revoked_time:
            raise AlreadyExists(f"Key {key.kid} was created by another request with the same idempotency key.")
        return known, token_of(signing_key, known)
    state.keys.add(key)
    data = {"scopes": list(scopes), "domains": list(domains) if domains is not None else None}
    _record(state, key, "key.created", actor=actor, now=now, data=data)
    return key, token


def revoke_key(state: State, *, tenant: str, kid: str, actor: str, now: datetime) -> ApiKey:
    """Take a key back; it stops working here at once, and at the data plane with the next routes.

    Raises:
        NotFound: The tenant has no such key.
    """
    key, changed = state.keys.revoke(tenant, kid, at=now)
    if changed:
        _record(state, key, "key.revoked", actor=actor, now=now, data={})
        routes.changed(state)
    return key


def rotate_key(
    state: State,
    signing_key: bytes,
    *,
    tenant: str,
    kid: str,
    grace_s: int,
    actor: str,
    now: datetime,
    new: str | None = None,
) -> tuple[ApiKey, str]:
    """A key that says the same as `kid` and takes its place, and the new key's token.

    The old key is revoked `grace_s` seconds from now.

    Args:
        new: A name derived from an idempotency key: the key of that name is shown again, and nothing done.

    Raises:
        NotFound: The tenant has no such key.
        InvalidState: It has expired, or was revoked or replaced before.
    """
    known = state.keys.find(tenant, new) if new else None
    if known is not None:
        return known, token_of(signing_key, known)
    old = state.keys.find(tenant, kid)
    if old is None:
        raise NotFound(f"There is no key {kid!r}. `udair key list` shows yours.")
    if old.revoked_time is not None:
        raise InvalidState(f"Key {kid} is revoked from {old.revoked_time.isoformat()} on; create a new one.")
    if old.expires_time is not None and old.expires_time <= now:
        raise InvalidState(f"Key {kid} expired {old.expires_time.isoformat()}; create a new one.")
    key = replace(old, kid=new or new_kid(), created_time=now, seq=0)
    state.keys.add(key)
    state.keys.revoke(tenant, kid, at=now + timedelta(seconds=grace_s))
    _record(state, key, "key.created", actor=actor, now=now, data={"replaces": kid})
    _record(state, old, "key.rotated", actor=actor, now=now, data={"replaced_by": key.kid, "grace_s": grace_s})
    routes.changed(state)
    return key, token_of(signing_key, key)


def token_of(signing_key: bytes, key: ApiKey) -> str:
    """The token of `key`: it follows from the signing key and what the key says."""
    exp = None if key.expires_time is None else int(key.expires_time.timestamp())
    return issue(signing_key, Claims(key.kid, key.tenant, key.scopes, key.domains, exp))


def _record(state: State, key: ApiKey, kind: str, *, actor: str, now: datetime, data: Mapping[str, object]) -> None:
    state.record(
        tenant=key.tenant,
        now=now,
        actor=actor,
        cause="request",
        noun="key",
        name=key.kid,
        kind=kind,
        data=data,
    )
