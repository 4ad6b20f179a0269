"""A job's curves: `curves.json` beside its heartbeat, figures that change from step to step. Bounded, however long it trains."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping

from udair_jobs.errors import StorageError
from udair_jobs.specs import Curve, CurveSet
from udair_jobs.storage import Storage

log = logging.getLogger(__name__)

CURVES = "curves.json"
MOST_POINTS = 200


class _Kept:
    """One figure. Each point is the mean of as many steps as are needed for the points to be few enough."""

    def __init__(self) -> None:
        self._width = 1
        self._means: list[float] = []
        self._open: list[float] = []

    def add(self, value: float) -> None:
        self._open.append(value)
        if len(self._open) < self._width:
            return
        self._means.append(_mean(self._open))
        self._open = []
        if len(self._means) == MOST_POINTS:
            self._means = [_mean(pair) for pair in zip(self._means[::2], self._means[1::2], strict=True)]
            self._width *= 2

    def curve(self, name: str) -> Curve:
        means = [*self._means, *([_mean(self._open)] if self._open else [])]
        total = len(self._means) * self._width + len(self._open)
        steps = [min((at + 1) * self._width, total) for at in range(len(means))]
        return Curve(name=name, steps=steps, values=[float(f"{mean:.6g}") for mean in means])


class Curves:
    """Keeps what is reported at every step, and writes it every few seconds.

    A store that does not take them costs the curves, never the job.
    """

    def __init__(
        self, storage: Storage, *, min_interval_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage, self._min_interval_s, self._clock = storage, min_interval_s, clock
        self._kept: dict[str, _Kept] = {}
        self._written = -math.inf
        self._news = False

    def add(self, metrics: Mapping[str, float]) -> None:
        """The figures of one step; those that are no numbers are left out."""
        for name, value in metrics.items():
            if math.isfinite(value):
                self._kept.setdefault(name, _Kept()).add(float(value))
                self._news = True
        if self._clock() - self._written >= self._min_interval_s:
            self.write()

    def write(self) -> None:
        """Write what is new."""
        if not self._news:
            return
        found = CurveSet(curves=[kept.curve(name) for name, kept in self._kept.items()])
        self._written = self._clock()
        try:
            self._storage.put(CURVES, found.model_dump_json().encode())
            self._news = False
        except StorageError as error:
            log.warning("curves not written: %s", error)


def _mean(values: list[float] | tuple[float, float]) -> float:
    return sum(values) / len(values)
