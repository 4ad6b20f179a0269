"""When the reconciler looks again: after its interval, or sooner when there is something to see.

Whatever is wanted leaves an event, so the newest event's number says whether anything has happened,
whichever process did it. A job that is being started or stopped leaves none until it is looked at:
it is looked at again after a tenth of the time that it has taken so far.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime

from udair_platform.entities.job import JobState
from udair_platform.errors import PlatformError
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS

POLL_S = 0.03
_IMPATIENT = 0.1
_MOVING = (JobState.PROVISIONING, JobState.CANCELLING)


class WakeUp:
    """Waits between two ticks.

    Args:
        interval_s: The longest wait.
        clock: Now, in UTC.
    """

    def __init__(self, database: Database, interval_s: float, clock: Callable[[], datetime]) -> None:
        self._database, self._interval_s, self._clock = database, interval_s, clock
        self._seen = -1

    def note(self) -> None:
        """Everything that has happened until now will be seen by the tick that follows."""
        self._seen = self._newest()

    def wait(self, stop: threading.Event) -> None:
        """Return when it is time to look again, or `stop` is set."""
        ends = time.monotonic() + self._patience_s()
        while not stop.wait(min(POLL_S, max(0.0, ends - time.monotonic()))):
            if time.monotonic() >= ends or self._newest() > self._seen:
                return

    def _newest(self) -> int:
        try:
            with self._database.read() as state:
                return state.events.newest(ALL_TENANTS)
        except PlatformError:  # away: the tick will say so
            return self._seen

    def _patience_s(self) -> float:
        try:
            with self._database.read() as state:
                moving = [job for job in state.jobs.unfinished(ALL_TENANTS) if job.state in _MOVING]
        except PlatformError:
            return self._interval_s
        now = self._clock()
        ages = [max(0.0, (now - job.updated_time).total_seconds()) for job in moving]
        return min([self._interval_s, *(max(POLL_S, age * _IMPATIENT) for age in ages)])
