"""Prometheus metrics of the data plane, through Ray's exporter on every node.

A label's values are bounded: beyond `MAX_DOMAIN_LABELS` domains, the rest share the label ``other``. The exporter asks
for no key, so that a domain is labelled by a digest of ``tenant/domain`` unless the installation keeps others away.
"""

from __future__ import annotations

import hashlib

from ray.util.metrics import Counter, Gauge, Histogram

MAX_DOMAIN_LABELS = 100
OTHER = "other"
_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]


class DomainLabels:
    """Gives each domain a label value, up to a number of them.

    Args:
        names: Label domains by name, and not by a digest of it.
        limit: How many have one of their own.
    """

    def __init__(self, names: bool = False, limit: int = MAX_DOMAIN_LABELS) -> None:
        self._names, self._limit = names, limit
        self._known: set[str] = set()

    def label(self, domain: str) -> str:
        """The domain's own while there is room, else ``other``."""
        if domain not in self._known and len(self._known) < self._limit:
            self._known.add(domain)
        if domain not in self._known:
            return OTHER
        return domain if self._names else hashlib.sha256(domain.encode()).hexdigest()[:12]


class IngressMetrics:
    """What an ingress counts."""

    def __init__(self, names: bool = False) -> None:
        self._labels = DomainLabels(names)
        self._requests = Counter(
            "udair_requests", "Answered requests by domain, status and fallback.", ("domain", "status", "fallback")
        )
        self._stages = Histogram("udair_stage_seconds", "Seconds of each stage of a request.", _SECONDS, ("stage",))
        self._bytes = Counter("udair_bytes", "Encoded bytes by direction.", ("direction",))
        self._batch = Histogram("udair_batch_images", "Images that shared a step.", [1, 2, 4, 8, 16, 32], ())
        self._domains = Histogram("udair_batch_domains", "Adapters that shared a step.", [1, 2, 4, 8, 16, 32], ())

    def answered(self, domain: str, status: int, fallback: str = "none") -> None:
        """One request was answered."""
        tags = {"domain": self._labels.label(domain), "status": str(status), "fallback": fallback}
        self._requests.inc(1.0, tags)

    def restored(self, stages: dict[str, float], received: int, sent: int, batch: int, domains: int) -> None:
        """One image was restored."""
        for stage, spent in stages.items():
            self._stages.observe(spent, {"stage": stage})
        self._bytes.inc(received, {"direction": "in"})
        self._bytes.inc(sent, {"direction": "out"})
        self._batch.observe(batch)
        self._domains.observe(domains)


class ReplicaMetrics:
    """What a backbone counts."""

    def __init__(self, names: bool = False) -> None:
        self._labels = DomainLabels(names)
        self._loads = Histogram("udair_adapter_load_seconds", "Seconds of a load, by tier.", _SECONDS, ("tier",))
        self._bank = Gauge("udair_bank", "Resident adapters; hits, misses and evictions since the start.", ("what",))
        self._waiting = Gauge("udair_waiting", "Images and pixels that are not done.", ("what",))
        self._cost = Gauge("udair_domain_forward_seconds", "Model seconds of a domain since the start.", ("domain",))
        self._drift = Gauge("udair_drift_bits", "Divergence of the last window from the snapshot.", ("domain",))
        self._drifted = Gauge(
            "udair_drift_confirmed", "1 after two windows in a row that drifted, else 0.", ("domain",)
        )
        self._codes = Gauge("udair_class_share", "Share of a domain's images by source class.", ("domain", "class"))

    def loaded(self, tier: str, seconds: float) -> None:
        """An adapter was loaded."""
        self._loads.observe(seconds, {"tier": tier})

    def state(self, resident: int, hits: int, misses: int, evictions: int, waiting: int, pixels: int) -> None:
        """The bank and the queue as they are now."""
        for what, value in (("resident", resident), ("hits", hits), ("misses", misses), ("evictions", evictions)):
            self._bank.set(value, {"what": what})
        self._waiting.set(waiting, {"what": "images"})
        self._waiting.set(pixels, {"what": "pixels"})

    def cost(self, domain: str, forward_s: float) -> None:
        """Model seconds of a domain."""
        label = self._labels.label(domain)
        if label != OTHER:  # a gauge cannot add up several domains
            self._cost.set(forward_s, {"domain": label})

    def window(
        self, domain: str, divergence: float | None, class_shares: dict[str, float], confirmed: bool = False
    ) -> None:
        """A drift window ended."""
        label = self._labels.label(domain)
        if label == OTHER:
            return
        if divergence is not None:
            self._drift.set(divergence, {"domain": label})
            self._drifted.set(float(confirmed), {"domain": label})
        for name, share in class_shares.items():
            self._codes.set(share, {"domain": label, "class": name})
