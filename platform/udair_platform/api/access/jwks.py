"""The keys that an OpenID provider publishes: fetched when they are needed, kept, and not asked for too often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

from udair_platform.errors import IdentityDown, TokenInvalid
from udair_platform.telemetry import logger

FRESH_S = 300  # a key that the provider withdraws is good for that long
STALE_S = 3600  # and for that long if the provider does not answer meanwhile
PAUSE_S = 10  # tokens with made-up key names do not make us ask more often than that
TIMEOUT_S = 3
MAX_KEYS = 64
_log = logger("api")


class PublishedKeys:
    """The keys of one provider. Safe to share between threads.

    Args:
        issuer: Where `/.well-known/openid-configuration` is.
        url: The keys' own address, if it need not be discovered.
        clock: Seconds that only rise.
    """

    def __init__(self, issuer: str, url: str | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._url, self._clock = issuer, url, clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched = self._asked = -float("inf")
        self._down = False

    def get(self, kid: str) -> jwt.PyJWK:
        """The key called `kid`.

        Raises:
            TokenInvalid: The provider publishes none of that name.
            IdentityDown: It is not known, and the provider does not answer.
        """
        key = self._known(kid, FRESH_S)
        if key is not None:
            return key
        with self._lock:
            if self._known(kid, FRESH_S) is None and self._clock() - self._asked >= PAUSE_S:
                self._fetch()
            key = self._known(kid, STALE_S)
            if key is not None:
                return key
            if self._down:
                raise IdentityDown("The identity provider's keys cannot be had now. Try again.")
        raise TokenInvalid(f"The token is signed with key {kid[:64]!r}, which its issuer does not publish.")

    def _known(self, kid: str, age_s: float) -> jwt.PyJWK | None:
        return self._keys.get(kid) if self._clock() - self._fetched < age_s else None

    def _fetch(self) -> None:
        self._asked = self._clock()
        try:
            url = self._url or self._discovered()
            client = jwt.PyJWKClient(url, cache_keys=False, cache_jwk_set=False, timeout=TIMEOUT_S)
            found = client.get_signing_keys(refresh=True)[:MAX_KEYS]
        except (jwt.PyJWTError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self._down = True
            _log.warning("identity_keys", issuer=self._issuer, error=f"{type(error).__name__}: {error}")
            return
        self._keys, self._fetched, self._down = {str(key.key_id): key for key in found}, self._clock(), False

    def _discovered(self) -> str:
        address = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        document: dict[str, Any] = httpx.get(address, timeout=TIMEOUT_S).raise_for_status().json()
        if document["issuer"] != self._issuer:
            raise ValueError(f"{address} is of issuer {document['issuer']!r}; expected {self._issuer!r}.")
        url, scheme = str(document["jwks_uri"]), self._issuer.partition("://")[0]
        if not url.startswith(f"{scheme}://"):
            raise ValueError(f"{address} names the keys {url[:200]!r}; expected {scheme}://….")
        return url
