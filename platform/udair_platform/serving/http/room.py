"""How much of a replica's memory is on its way, and whose."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from udair_platform.errors import TooManyRequests


class Room:
    """Counts the bytes of bodies and pixels that are held; belongs to one event loop.

    Args:
        most_bytes: Of all tenants together; one tenant may have half of it. What is alone always fits: bodies and
            images have limits of their own.
    """

    def __init__(self, most_bytes: int = 2**30) -> None:
        self._most, self._open = most_bytes, 0
        self._of: Counter[str] = Counter()

    def held(self, tenant: str) -> Held:
        """Nothing yet, of `tenant`; what is added is given back when its `with` ends."""
        return Held(self, tenant)

    def _take(self, tenant: str, count: int, mine: int) -> None:
        theirs = self._of[tenant]
        if theirs > mine and theirs + count > self._most // 2:
            raise TooManyRequests(f"{theirs} bytes of this tenant are on their way already; send it again a bit later.")
        if self._open > mine and self._open + count > self._most:
            raise TooManyRequests(f"{self._open} bytes are on their way already; send it again a bit later.")
        self._open += count
        self._of[tenant] += count

    def _give(self, tenant: str, count: int) -> None:
        self._open -= count
        self._of[tenant] -= count
        if not self._of[tenant]:
            del self._of[tenant]


class Held:
    """What one request holds."""

    def __init__(self, room: Room, tenant: str) -> None:
        self._room, self._tenant, self._bytes = room, tenant, 0

    def add(self, count: int) -> None:
        """Hold more.

        Raises:
            TooManyRequests: There is no room beside what others hold.
        """
        self._room._take(self._tenant, count, self._bytes)
        self._bytes += count

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room._give(self._tenant, self._bytes)
        self._bytes = 0
