"""People and workloads by the tokens of an OpenID provider: who it is, of which tenant, in which roles.

Believed is only a token that one of the provider's published keys signed, with RSA or elliptic curves,
for this platform, now. Whether it may do something is decided as it is for API keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from udair_platform.api.access.jwks import PublishedKeys
from udair_platform.errors import Forbidden, TokenInvalid
from udair_platform.keys import LEEWAY_S
from udair_platform.roles import Role
from udair_platform.settings import Settings

# Never HS256: a token signed with the provider's public key, as if it were a secret, would pass.
ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
MAX_TOKEN_CHARS = 16_384
_SUBJECT = re.compile(r"[\x21-\x7e]{1,120}")  # it names the actor of events


@dataclass(frozen=True)
class User:
    """Who a token speaks for."""

    issuer: str
    subject: str
    tenant: str
    roles: tuple[Role, ...]


class IdentityProvider:
    """The provider that the settings name.

    Args:
        issuer: As its tokens name it.
        audience: Whom tokens must be for.
        keys: What it signs with.
        tenant_claim: Claim that names the tenant; a dot goes into an object, unless a claim is called so.
        roles_claim: Claim that lists roles, or names one.
        roles: Our role for each of the provider's; others count for nothing.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        keys: PublishedKeys,
        tenant_claim: str,
        roles_claim: str,
        roles: Mapping[str, Role],
    ) -> None:
        self._issuer, self._audience, self._keys = issuer, audience, keys
        self._tenant_claim, self._roles_claim, self._roles = tenant_claim, roles_claim, roles

    @classmethod
    def of(cls, settings: Settings) -> IdentityProvider | None:
        """The provider of `settings`, which is contacted when its first token comes, or None."""
        if settings.oidc_issuer is None:
            return None
        return cls(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            keys=PublishedKeys(settings.oidc_issuer, settings.oidc_jwks_url),
            tenant_claim=settings.oidc_tenant_claim,
            roles_claim=settings.oidc_roles_claim,
            roles=settings.oidc_roles,
        )

    def verify(self, token: str) -> User:
        """Who `token` speaks for.

        Raises:
            TokenInvalid: It is malformed, forged, expired, not yet good, or not for this platform.
            Forbidden: It names no tenant, or no role that counts here.
            IdentityDown: The key that signed it is not known, and the provider does not answer.
        """
        claims = self._claims(token)
        subject, tenant = claims["sub"], _at(claims, self._tenant_claim)
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise TokenInvalid("The token's sub is not acceptable; expected 1 to 120 printable ASCII characters.")
        if not isinstance(tenant, str):
            raise Forbidden(f"The token of user {subject} has no claim {self._tenant_claim!r} that names a tenant.")
        held = _at(claims, self._roles_claim)
        names = held if isinstance(held, list) else [held]
        roles = {self._roles[name] for name in names if isinstance(name, str) and name in self._roles}
        if not roles:
            known = ", ".join(self._roles)
            raise Forbidden(
                f"The token of user {subject} gives no role here: {self._roles_claim!r} is {str(held)[:120]}; "
                f"expected some of {known}."
            )
        return User(self._issuer, subject, tenant, tuple(sorted(roles)))

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise TokenInvalid(f"The token has {len(token)} characters; expected at most {MAX_TOKEN_CHARS}.")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS:
                raise TokenInvalid(
                    f"The token is signed with {str(algorithm)[:20]!r}; expected {', '.join(ALGORITHMS)}."
                )
            if not isinstance(kid, str):
                raise TokenInvalid("The token's header has no kid, so that its key cannot be looked up.")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys.get(kid),
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise TokenInvalid(f"The token is not valid: {error}.") from error
        return claims


def _at(claims: Mapping[str, Any], path: str) -> Any:
    if path in claims:  # a claim may be called by a URL
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
