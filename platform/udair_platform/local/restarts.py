"""When a part that has ended is started again: at once, and later each time that it ends soon after."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 600.0
LONGEST_PAUSE_S = 60.0


class Restarts:
    """Counts the ends of each part within a window, not over a life.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, deque[float]] = {}
        self._due: dict[str, float] = {}

    def ended(self, name: str) -> float | None:
        """The pause before its next start, in seconds, when its end is news; None when it is known."""
        if name in self._due:
            return None
        now = self._clock()
        ends = self._ends.setdefault(name, deque())
        while ends and now - ends[0] > WINDOW_S:
            ends.popleft()
        pause_s = min(LONGEST_PAUSE_S, 2.0 ** len(ends)) if ends else 0.0
        ends.append(now)
        self._due[name] = now + pause_s
        return pause_s

    def due(self, name: str) -> bool:
        """Whether it is time to start a part that has ended; true once for each end."""
        if self._clock() < self._due.get(name, float("inf")):
            return False
        del self._due[name]
        return True

    def count(self, name: str) -> int:
        """How often it ended within the window."""
        return len(self._ends.get(name, ()))
