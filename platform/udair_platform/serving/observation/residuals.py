"""What pictures look like once a champion and its canary have restored them: how much grain is left, and how far the light moved.

Both are measured on the same stretch of time, by estimators without a model. Of a night camera's pictures, versions that
were further from the truth left more grain and moved the light further; codes, classes and naturalness of restored
pictures did not order them (docs/log.md). Bounded memory.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from udair.data.images import ImageArray
from udair.estimation.noise import noise_bank
from udair_platform.serving.observation.windows import MAX_DOMAINS

_LOOKED_AT = 256  # of the middle, pixels
_FIRST, _EVERY_S = 32, 5.0  # so many of a version at once, then one now and then


@dataclass
class Sums:
    """What makes a mean and its error; sums of parts add up to those of the whole."""

    images: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take in one image's figure."""
        self.images += 1
        self.total += value
        self.squares += value * value

    def to_list(self) -> list[float]:
        """For the report."""
        return [self.images, round(self.total, 4), round(self.squares, 4)]


@dataclass
class _Version:
    taken: int = 0
    taken_time: float = -float("inf")
    figures: dict[str, Sums] = field(default_factory=dict)


@dataclass
class _Stretch:
    pair: tuple[int, int]
    began: float
    versions: dict[int, _Version]


class Residuals:
    """By domain: the figures of its champion and of its canary, since this replica knew of the two."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._stretches: OrderedDict[str, _Stretch] = OrderedDict()
        self._lock = threading.Lock()

    def wants(self, domain: str, pair: tuple[int, int], version: int) -> bool:
        """Whether the next picture of a version should be looked at; another `pair` begins anew."""
        now = self._clock()
        with self._lock:
            found = self._stretches.get(domain)
            if found is None or found.pair != pair:
                found = self._stretches[domain] = _Stretch(pair, now, {number: _Version() for number in pair})
                while len(self._stretches) > MAX_DOMAINS:
                    self._stretches.popitem(last=False)
            one = found.versions.get(version)
            if one is None or (one.taken >= _FIRST and now - one.taken_time < _EVERY_S):
                return False
            one.taken, one.taken_time = one.taken + 1, now
            return True

    def add(self, domain: str, pair: tuple[int, int], version: int, figures: dict[str, float]) -> None:
        """Take in what was measured of one picture, unless the pair is another by now."""
        with self._lock:
            found = self._stretches.get(domain)
            if found is not None and found.pair == pair:
                for name, value in figures.items():
                    found.versions[version].figures.setdefault(name, Sums()).add(value)

    def end(self, domain: str) -> None:
        """The domain has no canary that is to be compared."""
        if domain in self._stretches:
            with self._lock:
                self._stretches.pop(domain, None)

    def report(self) -> dict[str, dict[str, Any]]:
        """By domain, JSON-ready."""
        with self._lock:
            return {
                domain: {
                    "champion": found.pair[0],
                    "canary": found.pair[1],
                    "began_time": round(found.began, 3),
                    "versions": {
                        str(number): {name: sums.to_list() for name, sums in one.figures.items()}
                        for number, one in found.versions.items()
                    },
                }
                for domain, found in self._stretches.items()
            }


def measure(came: ImageArray, restored: ImageArray, *, light_kept: bool) -> dict[str, float]:
    """Figures of one picture, in grey levels of 255: `came`, the grain that it came with; `grain`, what is left of it;
    `light`, how far its mean moved, where that shall stay. Grain that cannot be told is left out.

    Args:
        came, restored: (H, W, 3) uint8.
    """
    before, after = _middle(came), _middle(restored)
    figures = {"light": abs(float(after.mean()) - float(before.mean()))} if light_kept else {}
    with torch.inference_mode():
        banks = noise_bank([before]), noise_bank([after])
    if banks[0] is not None and banks[1] is not None:
        figures |= {"came": 255 * banks[0].level, "grain": 255 * banks[1].level}
    return figures


def _middle(image: ImageArray) -> ImageArray:
    height, width = image.shape[:2]
    top, left = max(0, height - _LOOKED_AT) // 2, max(0, width - _LOOKED_AT) // 2
    return np.ascontiguousarray(image[top : top + _LOOKED_AT, left : left + _LOOKED_AT])
