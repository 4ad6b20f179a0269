"""What one replica knows of its domains' traffic: usage, drift against the snapshot, shadows. Bounded memory.

Axes: K codes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from udair.adaptation.drift import measure_drift
from udair.adaptation.profile import SAMPLE, Embeddings, Profile

MAX_DOMAINS = 4096
_RECENT_S, _RECENT_IMAGES = 60.0, 4096


@dataclass
class DomainCounters:
    """What a domain has cost since the replica began.

    Attributes:
        images, pixels: Restored.
        forward_s: Seconds of model time: its share of pixels of every batch.
        failed: Images that were not restored.
    """

    images: int = 0
    pixels: int = 0
    forward_s: float = 0.0
    failed: int = 0


@dataclass
class Comparison:
    """Answers of a shadow beside those that were given.

    Attributes:
        version: Of the shadow.
        images: Compared; `skipped` were not, because customers' images came first.
        difference: Sum of mean absolute differences, pixel levels over 255.
        worst: Largest of them.
    """

    version: int
    images: int = 0
    skipped: int = 0
    failed: int = 0
    difference: float = 0.0
    worst: float = 0.0

    def add(self, difference: float) -> None:
        """One more pair of answers."""
        self.images += 1
        self.difference += difference
        self.worst = max(self.worst, difference)

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "version": self.version,
            "images": self.images,
            "skipped": self.skipped,
            "failed": self.failed,
            "mean_difference": round(self.difference / max(self.images, 1), 6),
            "worst_difference": round(self.worst, 6),
        }


@dataclass
class _Domain:
    usage: DomainCounters = field(default_factory=DomainCounters)
    window: Profile | None = None
    window_began: float = 0.0
    embedded_time: float = -float("inf")
    drift: dict[str, Any] | None = None
    shadow: Comparison | None = None


class TrafficWindows:
    """Counts by domain; the domain that was quiet longest is forgotten first.

    Args:
        codes: K of the base model.
        window_s: Length of a drift window.
    """

    def __init__(self, codes: int, window_s: float = 3600.0) -> None:
        self._codes, self.window_s = codes, window_s
        self._domains: OrderedDict[str, _Domain] = OrderedDict()
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_IMAGES)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._domains)

    def count(self, domain: str, pixels: int, forward_s: float) -> DomainCounters:
        """One restored image; what the domain has cost so far."""
        with self._lock:
            usage = self._of(domain).usage
            usage.images += 1
            usage.pixels += pixels
            usage.forward_s += forward_s
            return usage

    def observe_latency(self, seconds: float, now: float) -> None:
        """How long an image waited and was worked on; what it says is forgotten after a minute."""
        with self._lock:
            self._recent.append((now, seconds))

    def pace(self, now: float) -> dict[str, float | None]:
        """Images a second over the last minute, and how long they took; None where there was none."""
        with self._lock:
            recent = [(at, seconds) for at, seconds in self._recent if now - at <= _RECENT_S]
        if not recent:
            return {"images_per_s": 0.0, "p50_s": None, "p99_s": None}
        whole = len(recent) < _RECENT_IMAGES  # else the minute held more than is kept
        p50_s, p99_s = np.quantile([seconds for _, seconds in recent], (0.5, 0.99))
        rate = len(recent) / (_RECENT_S if whole else max(now - recent[0][0], 1e-3))
        return {"images_per_s": round(rate, 3), "p50_s": round(float(p50_s), 4), "p99_s": round(float(p99_s), 4)}

    def failed(self, domain: str) -> None:
        """One image that was not restored."""
        with self._lock:
            self._of(domain).usage.failed += 1

    def wants_embedding(self, domain: str, now: float) -> bool:
        """Whether the next image of the domain should be looked at: a window's images are spread over it."""
        with self._lock:
            entry = self._of(domain)
            enough = entry.window is not None and entry.window.images >= 32
            if enough and now - entry.embedded_time < self.window_s / (4 * SAMPLE):
                return False
            entry.embedded_time = now
            return True

    def observe_embeddings(self, domain: str, embeddings: Embeddings, now: float) -> None:
        """How the model saw an image."""
        with self._lock:
            entry = self._of(domain)
            if entry.window is None:
                entry.window, entry.window_began = Profile.empty(self._codes), now
            entry.window.add(embeddings)

    def shadow(self, domain: str, version: int) -> Comparison:
        """The comparison with the domain's shadow, begun anew for another version."""
        with self._lock:
            entry = self._of(domain)
            if entry.shadow is None or entry.shadow.version != version:
                entry.shadow = Comparison(version)
            return entry.shadow

    def due(self, now: float) -> list[str]:
        """Domains whose window has ended."""
        with self._lock:
            return [
                name
                for name, entry in self._domains.items()
                if entry.window is not None and now - entry.window_began >= self.window_s
            ]

    def close_window(self, domain: str, reference: dict[str, Any] | None, now: float) -> dict[str, Any] | None:
        """End the domain's window and compare it with `reference`, a `profile.json`.

        Returns:
            The window's record, JSON-ready; None if there was no window.
        """
        with self._lock:
            entry = self._domains.get(domain)
            if entry is None or entry.window is None:
                return None
            window, began, before = entry.window, entry.window_began, entry.drift
            entry.window = None
        record: dict[str, Any] = {
            "began_time": round(began, 3),
            "ended_time": round(now, 3),
            "images": window.images,
            "class_shares": window.class_shares,
            "code_shares": [round(float(share), 4) for share in window.codes_K / max(window.images, 1)],
            "divergence": None,
            "threshold": None,
            "crossed": False,
            "confirmed": False,
        }
        sample = np.asarray((reference or {}).get("sample") or np.zeros((0, self._codes)), dtype=float)
        drift = measure_drift(sample, window.sample_NK) if sample.shape[1:] == (self._codes,) else None
        if drift is not None and reference is not None:
            record |= {
                "divergence": round(drift.divergence, 5),
                "threshold": round(drift.threshold, 5),
                "crossed": drift.crossed,
                "reference_class_shares": reference.get("class_shares", {}),
                # One window in a thousand crosses by chance; two in a row do not.
                "confirmed": drift.crossed and bool(before and before["crossed"]),
            }
        with self._lock:
            self._of(domain).drift = record
        return record

    def report(self, only: str | None = None) -> dict[str, dict[str, Any]]:
        """What is known of every domain, or of one, JSON-ready."""
        with self._lock:
            return {
                name: {
                    "usage": {**vars(entry.usage), "forward_s": round(entry.usage.forward_s, 4)},
                    "drift": entry.drift,
                    "shadow": entry.shadow.to_dict() if entry.shadow else None,
                }
                for name, entry in self._domains.items()
                if only in (None, name)
            }

    def _of(self, domain: str) -> _Domain:
        entry = self._domains.setdefault(domain, _Domain())
        self._domains.move_to_end(domain)
        while len(self._domains) > MAX_DOMAINS:
            self._domains.popitem(last=False)
        return entry


def format_drift(record: dict[str, Any]) -> str:
    """A window in words: ``haze 12 % -> 41 %``, the largest changes first."""
    before, now = record.get("reference_class_shares") or {}, record["class_shares"]
    changes = sorted(((now[name] - before.get(name, 0.0), name) for name in now), key=lambda c: -abs(c[0]))
    parts = [
        f"{name} {100 * before.get(name, 0.0):.0f} % -> {100 * now[name]:.0f} %"
        for change, name in changes[:2]
        if abs(change) >= 0.05
    ]
    return ", ".join(parts) or "codes changed within their classes"
