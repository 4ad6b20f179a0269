"""What one replica restored, minute by minute, until the control plane has had the time to take it over. Bounded memory."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from udair_platform.entities.latency import bucket
from udair_platform.entities.served import MINUTE_S

KEPT, MOST_ROWS = 15, 5000  # minutes, and rows in all: the report must stay small; the newest two are kept anyway
_SURE = 2


@dataclass
class _Tally:
    images: int = 0
    errors: int = 0
    latency: Counter[str] = field(default_factory=Counter)


@dataclass
class _Minute:
    begin: int
    served: dict[tuple[str, int], _Tally] = field(default_factory=dict)


class ServedMinutes:
    """Counts by minute, domain and version. A minute that is over gets a number, and does not change any more.

    A clock that is put back ends the minute, too: numbers rise, whatever the clock says.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._minute = _Minute(0)
        self._over: deque[tuple[int, _Minute]] = deque()
        self._number = 0
        self._lock = threading.Lock()

    def restored(self, domain: str, version: int, seconds: float) -> None:
        """One image was, after so many seconds."""
        with self._lock:
            tally = self._of(domain, version)
            tally.images += 1
            tally.latency[bucket(seconds)] += 1

    def failed(self, domain: str, version: int) -> None:
        """One image was not."""
        with self._lock:
            self._of(domain, version).errors += 1

    def report(self, *, last: bool = False) -> list[Mapping[str, Any]]:
        """The minutes that are over, oldest first, JSON-ready; with `last` the one under way is over, too."""
        with self._lock:
            self._end_before(None if last else self._begin())
            return [
                {
                    "number": number,
                    "begin_time": minute.begin,
                    "served": [
                        {"name": name, "version": version, **vars(tally), "latency": dict(tally.latency)}
                        for (name, version), tally in minute.served.items()
                    ],
                }
                for number, minute in self._over
            ]

    def _of(self, domain: str, version: int) -> _Tally:
        self._end_before(self._begin())
        return self._minute.served.setdefault((domain, version), _Tally())

    def _end_before(self, begin: int | None) -> None:
        if self._minute.begin == begin:
            return
        if self._minute.served:
            self._number += 1
            self._over.append((self._number, self._minute))
            rows = sum(len(minute.served) for _, minute in self._over)
            while len(self._over) > KEPT or (rows > MOST_ROWS and len(self._over) > _SURE):
                rows -= len(self._over.popleft()[1].served)
        self._minute = _Minute(begin or 0)

    def _begin(self) -> int:
        return int(self._clock() // MINUTE_S) * MINUTE_S
