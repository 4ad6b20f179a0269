"""A job's heartbeat: `progress.json`, overwritten as the job advances."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import takewhile

from udair_jobs.errors import StorageUnavailable
from udair_jobs.specs import Phase, PhaseRecord, Progress
from udair_jobs.storage import Storage

log = logging.getLogger(__name__)

PROGRESS = "progress.json"

# A job's phases in order, with rough shares of its time, so that the bar moves evenly; they need not add up to 100.
ADAPTATION: dict[Phase, float] = {
    "VALIDATING": 3,
    "FETCHING": 12,
    "EMBEDDING": 5,
    "ALIGNING": 20,
    "ADAPTING": 40,
    "EVALUATING": 17,
    "EXPORTING": 3,
}


class Reporter:
    """Writes the heartbeat of one attempt: at every change of phase, and about once a second between.

    A store that is away for a moment costs a heartbeat, never the job.

    Args:
        storage: Where it is written.
        weights: The phases in order, with their shares of the time.
        listener: Told of every heartbeat, too.
    """

    def __init__(
        self,
        storage: Storage,
        weights: Mapping[Phase, float] = ADAPTATION,
        *,
        listener: Callable[[Progress], None] | None = None,
        min_interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._weights = weights
        self._listener = listener
        self._min_interval_s = min_interval_s
        self._clock = clock
        self._started = self._phase_started = clock()
        self._written = -math.inf
        self._phase: Phase | None = None
        self._seconds: dict[Phase, float] = {}
        self._percent = 0.0
        self._metrics: dict[str, float] = {}

    def report(
        self,
        phase: Phase,
        fraction: float = 0.0,
        metrics: Mapping[str, float] | None = None,
        message: str = "",
    ) -> None:
        """Say that `fraction` of `phase` is done; `metrics` are added to those reported before."""
        if phase not in self._weights:
            raise ValueError(f"phase {phase!r} is unknown; expected one of {', '.join(self._weights)}.")
        changed = phase != self._phase
        if changed:
            self._leave_phase()
            self._phase = phase
            log.info("%s", f"{phase.lower():10} {message}".rstrip())
        # NaN and infinity are no JSON, and a reader must always be able to read a heartbeat.
        self._metrics.update({k: float(v) for k, v in (metrics or {}).items() if math.isfinite(v)})
        done = sum(self._weights[before] for before in takewhile(lambda p: p != phase, self._weights))
        share = (done + self._weights[phase] * min(max(fraction, 0.0), 1.0)) / sum(self._weights.values())
        self._percent = max(self._percent, round(100 * share, 1))
        if changed or self._percent >= 100 or self._clock() - self._written >= self._min_interval_s:
            self._write(phase, message)

    def phases(self) -> list[PhaseRecord]:
        """Seconds spent in each phase so far, in the order in which they began."""
        self._leave_phase()
        return [PhaseRecord(phase=phase, seconds=round(s, 3)) for phase, s in self._seconds.items()]

    def _leave_phase(self) -> None:
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._phase_started
        self._phase_started = now

    def _write(self, phase: Phase, message: str) -> None:
        elapsed = self._clock() - self._started
        # Below 5 % an estimate is noise.
        eta_s = round(elapsed * (100 - self._percent) / self._percent, 1) if self._percent >= 5 else None
        progress = Progress(
            phase=phase,
            progress_percent=self._percent,
            eta_s=eta_s,
            metrics=dict(self._metrics),
            message=message,
            heartbeat_time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            phases=self.phases(),
        )
        if self._listener is not None:
            self._listener(progress)
        try:
            self._storage.put(PROGRESS, progress.model_dump_json(indent=2).encode())
        except StorageUnavailable as error:
            log.warning("heartbeat not written: %s", error)
        self._written = self._clock()
