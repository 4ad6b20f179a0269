"""A store that may be away for a while: the same store, asked again until it answers or patience ends."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from udair_jobs.errors import StorageUnavailable
from udair_jobs.storage.contract import ObjectInfo, Storage, UploadForm

log = logging.getLogger(__name__)

# A minute outlasts a restart or a failover of a store. Whoever is dead for longer costs one attempt of the job.
PATIENCE_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 8.0

Answer = TypeVar("Answer")


class PatientStorage(Storage):
    """`storage`, with calls repeated for `patience_s` after their first StorageUnavailable.

    The client's own retries bridge a few seconds, and all threads share their budget; an outage takes a
    clock. Only StorageUnavailable is waited for: every other error is an answer.
    """

    def __init__(self, storage: Storage, patience_s: float = PATIENCE_S) -> None:
        self.impatient = storage
        self._patience_s = patience_s

    @property
    def uri(self) -> str:
        """As the store itself says."""
        return self.impatient.uri

    def __repr__(self) -> str:
        return f"PatientStorage({self.impatient!r}, {self._patience_s})"

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As the store itself; after an outage the listing goes on behind the last key."""
        listed = iter(self.impatient.list(prefix))
        last = b""

        def following() -> ObjectInfo | None:
            nonlocal listed
            try:
                # Keys come in order of their bytes, so that what was seen is known by the last of them.
                return next((item for item in listed if not last or _order(item.key) > last), None)
            except StorageUnavailable:
                listed = iter(self.impatient.list(prefix))
                raise

        while (item := self._patiently(following)) is not None:
            last = _order(item.key)
            yield item

    def head(self, key: str) -> ObjectInfo:
        """As the store itself."""
        return self._patiently(lambda: self.impatient.head(key))

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """As the store itself."""
        return self._patiently(lambda: self.impatient.get(key, if_match=if_match, max_bytes=max_bytes))

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """As the store itself; a repeated conditional write may meet its own object, as the contract says."""
        return self._patiently(lambda: self.impatient.put(key, data, if_absent=if_absent, if_match=if_match))

    def delete(self, key: str) -> None:
        """As the store itself."""
        self._patiently(lambda: self.impatient.delete(key))

    def at(self, prefix: str) -> PatientStorage:
        """The same store with the same patience, deeper."""
        return PatientStorage(self.impatient.at(prefix), self._patience_s)

    def presign_post(self, key: str, *, max_bytes: int, expires_s: int = 900) -> UploadForm:
        """A form that uploads the object without credentials."""
        return self._patiently(lambda: self.impatient.presign_post(key, max_bytes=max_bytes, expires_s=expires_s))

    def presign_get(self, key: str, expires_s: int = 900) -> str:
        """As the store itself."""
        return self._patiently(lambda: self.impatient.presign_get(key, expires_s))

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        wait_s = _FIRST_WAIT_S
        gives_up: float | None = None
        while True:
            try:
                return call()
            except StorageUnavailable as error:
                now = time.monotonic()
                gives_up = gives_up if gives_up is not None else now + self._patience_s
                if now >= gives_up:
                    raise
                log.warning("%s; waiting up to %.0f s more", error, gives_up - now)
                # Jitter: a store that comes back must not meet all threads at once.
                time.sleep(min(wait_s * random.uniform(0.5, 1.0), gives_up - now))
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")
