"""API keys that carry their own claims: signed once, checked anywhere without a database.

A key is `ak_{kid}.{payload}.{signature}`: the payload is JSON in base64url, the signature is
HMAC-SHA256 under the platform's 32-byte signing key. The control plane also checks revocation in
its database, the data plane in `revoked_keys` of routes.json. Nothing here does I/O.

While the signing key is being changed, keys that the previous one signed stay good: see `verify`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from udair_platform.errors import KeyExpired, KeyInvalid
from udair_platform.roles import SCOPES, Scope
from udair_platform.signing import Purpose, decode, encode, same, sign

LEEWAY_S = 30  # the clocks of two machines may differ by that much
SIGNING_KEY_BYTES = 32
MAX_TOKEN_CHARS = 4096
_TOKEN = re.compile(r"^ak_([a-z0-9-]{4,64})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$")


@dataclass(frozen=True)
class Claims:
    """What a key says about its bearer.

    Attributes:
        kid: Name of the key, safe to log.
        tenant: The tenant that it acts for.
        scopes: What it may do; ``admin`` may do everything within its tenant.
        domains: Names of the only domains it may touch; None means all of the tenant's.
        exp: End of validity, seconds since the epoch, UTC; None means never.
    """

    kid: str
    tenant: str
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None = None
    exp: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key carries `scope`, itself or through ``admin``."""
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, domain: str) -> bool:
        """Whether the key may touch the domain called `domain`."""
        return self.domains is None or domain in self.domains


def new_kid() -> str:
    """A fresh key name."""
    return secrets.token_hex(6)


def new_signing_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(SIGNING_KEY_BYTES)


def issue(signing_key: bytes, claims: Claims) -> str:
    """The token that says `claims`. The same claims give the same token.

    Raises:
        KeyInvalid: The signing key has the wrong size, or a scope is unknown.
    """
    _check_signing_key(signing_key)
    unknown = set(claims.scopes) - set(SCOPES)
    if unknown:
        raise KeyInvalid(f"Unknown scopes {sorted(unknown)}; expected some of {', '.join(SCOPES)}.")
    payload = {
        "kid": claims.kid,
        "tenant": claims.tenant,
        "scopes": list(claims.scopes),
        "domains": None if claims.domains is None else list(claims.domains),
        "exp": claims.exp,
    }
    body = encode(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode())
    return f"ak_{claims.kid}.{body}.{encode(_sign(signing_key, claims.kid, body))}"


def verify(signing_key: bytes, token: str, now: float, *, previous: bytes | None = None) -> Claims:
    """The claims of `token`, if its signature is ours and it has not expired at `now`.

    The signature is compared in constant time, and before anything in the payload is believed. A key is
    good until `LEEWAY_S` after its `exp`, so that no machine whose clock is fast refuses it early.

    Args:
        now: Seconds since the epoch, UTC.
        previous: The signing key before this one, while its keys shall still be good.

    Raises:
        KeyInvalid: Malformed, or signed with another key.
        KeyExpired: `exp` has passed.
    """
    accepted = [signing_key] if previous is None else [signing_key, previous]
    for key in accepted:
        _check_signing_key(key)
    match = _TOKEN.match(token) if len(token) <= MAX_TOKEN_CHARS else None
    if match is None:
        raise KeyInvalid("The key is malformed; expected ak_<id>.<payload>.<signature>.")
    kid, body, signature = match.groups()
    given = _decode(signature)
    if not any(same(_sign(key, kid, body), given) for key in accepted):
        raise KeyInvalid(f"The signature of key ak_{kid} is not this platform's.")
    payload = json.loads(_decode(body))
    claims = Claims(
        kid=payload["kid"],
        tenant=payload["tenant"],
        scopes=_strings(payload["scopes"]),
        domains=None if payload["domains"] is None else _strings(payload["domains"]),
        exp=payload["exp"],
    )
    if claims.kid != kid:
        raise KeyInvalid(f"The key ak_{kid} carries the claims of another key.")
    if claims.exp is not None and now >= claims.exp + LEEWAY_S:
        raise KeyExpired(f"The key ak_{kid} expired; create a new one with `udair key create`.")
    return claims


def _sign(signing_key: bytes, kid: str, body: str) -> bytes:
    return sign(signing_key, Purpose.API_KEY, f"{kid}.{body}".encode())


def _check_signing_key(signing_key: bytes) -> None:
    if len(signing_key) != SIGNING_KEY_BYTES:
        raise KeyInvalid(f"The signing key has {len(signing_key)} bytes; expected {SIGNING_KEY_BYTES}.")


def _strings(value: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(item) for item in value)


def _decode(encoded: str) -> bytes:
    try:
        return decode(encoded)
    except ValueError:
        raise KeyInvalid("The key is malformed; its parts are not base64url.") from None
