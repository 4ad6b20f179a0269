"""What one replica knows of its domains' traffic: usage, drift against the snapshot, shadows. Bounded memory.

Axes: K codes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from udair.adaptation.drift import measure_drift
from udair.adaptation.profile import SAMPLE, Embeddings, Profile
from udair_platform.serving.observation.minutes import ServedMinutes

MAX_DOMAINS = 4096
_RECENT_S, _RECENT_IMAGES = 60.0, 4096


@dataclass
class DomainCounters:
    """What a domain has cost since the replica began.

    Attributes:
        images, pixels: Answered.
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

    def to_dict(self) -> dict[str, Any]:
        return {
            "usage": {**vars(self.usage), "forward_s": round(self.usage.forward_s, 4)},
            "drift": self.drift,
            "shadow": self.shadow.to_dict() if self.shadow else None,
        }


UNSEEN: Mapping[str, Any] = _Domain().to_dict()  # what is said of a domain that no request was for


class TrafficWindows:
    """Counts by domain; the domain that was quiet longest is forgotten first.

    Args:
        codes: K of the base model.
        window_s: Length of a drift window.
        clock: The time.

    Attributes:
        minutes: What was restored and what was not, minute by minute.
    """

    def __init__(self, codes: int, window_s: float = 3600.0, clock: Callable[[], float] = time.time) -> None:
        self._codes, self.window_s, self._clock = codes, window_s, clock
        self.minutes = ServedMinutes(clock)
        self._domains: OrderedDict[str, _Domain] = OrderedDict()
        self._tenants: dict[str, DomainCounters] = {}  # none is forgotten: budgets are counted by them
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_IMAGES)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._domains)

    def answered(
        self, domain: str, version: int, pixels: int, *, forward_s: float = 0.0, latency_s: float = 0.0
    ) -> DomainCounters:
        """One image that was answered, by the model or as it came; what the domain has cost so far.

        Args:
            latency_s: How long it waited and was worked on; forgotten after a minute.
        """
        self.minutes.restored(domain, version, latency_s)
        with self._lock:
            self._recent.append((self._clock(), latency_s))
            usage = self._of(domain).usage
            whole = self._tenants.setdefault(domain.partition("/")[0], DomainCounters())
            for counters in (usage, whole):
                counters.images += 1
                counters.pixels += pixels
                counters.forward_s += forward_s
            return usage

    def pace(self) -> dict[str, float | None]:
        """Images a second over the last minute, and how long they took; None where there was none."""
        now = self._clock()
        with self._lock:
            recent = [(at, seconds) for at, seconds in self._recent if now - at <= _RECENT_S]
        if not recent:
            return {"images_per_s": 0.0, "p50_s": None, "p99_s": None}
        whole = len(recent) < _RECENT_IMAGES  # else the minute held more than is kept
        p50_s, p99_s = np.quantile([seconds for _, seconds in recent], (0.5, 0.99))
        rate = len(recent) / (_RECENT_S if whole else max(now - recent[0][0], 1e-3))
        return {"images_per_s": round(rate, 3), "p50_s": round(float(p50_s), 4), "p99_s": round(float(p99_s), 4)}

    def failed(self, domain: str, version: int, *, refused: bool) -> None:
        """One image that was not restored; one that was refused for others' sake is not counted against its domain."""
        self.minutes.failed(domain, version)
        if not refused:
            with self._lock:
                self._of(domain).usage.failed += 1

    def wants_embedding(self, domain: str) -> bool:
        """Whether the next image of the domain should be looked at: a window's images are spread over it."""
        now = self._clock()
        with self._lock:
            entry = self._of(domain)
            enough = entry.window is not None and entry.window.images >= 32
            if enough and now - entry.embedded_time < self.window_s / (4 * SAMPLE):
                return False
            entry.embedded_time = now
            return True

    def observe_embeddings(self, domain: str, embeddings: Embeddings) -> None:
        """How the model saw an image."""
        with self._lock:
            entry = self._of(domain)
            if entry.window is None:
                entry.window, entry.window_began = Profile.empty(self._codes), self._clock()
            entry.window.add(embeddings)

    def shadow(self, domain: str, version: int) -> Comparison:
        """The comparison with the domain's shadow, begun anew for another version."""
        with self._lock:
            entry = self._of(domain)
            if entry.shadow is None or entry.shadow.version != version:
                entry.shadow = Comparison(version)
            return entry.shadow

    def due(self) -> list[str]:
        """Domains whose window has ended."""
        now = self._clock()
        with self._lock:
            return [
                name
                for name, entry in self._domains.items()
                if entry.window is not None and now - entry.window_began >= self.window_s
            ]

    def close_window(self, domain: str, reference: dict[str, Any] | None) -> dict[str, Any] | None:
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
            "ended_time": round(self._clock(), 3),
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

    def report_tenants(self) -> dict[str, dict[str, float]]:
        """What each tenant has had restored since the replica began, JSON-ready; it only rises."""
        with self._lock:
            return {
                name: {"images": whole.images, "forward_s": round(whole.forward_s, 4)}
                for name, whole in self._tenants.items()
            }

    def report(self) -> dict[str, dict[str, Any]]:
        """What is known of every domain, JSON-ready."""
        with self._lock:
            return {name: entry.to_dict() for name, entry in self._domains.items()}

    def of(self, domain: str) -> dict[str, Any]:
        """What is known of one domain, JSON-ready; of the same shape where nothing is."""
        with self._lock:
            return self._domains[domain].to_dict() if domain in self._domains else dict(UNSEEN)

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
