"""How long pictures took, as counts in fixed buckets: those of several replicas and of several minutes add up.

A bucket is 19 % wide, so that a quantile is true to a tenth. The first holds what took a millisecond or less, the last
what took longer than two minutes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

FIRST_S, _PER_OCTAVE, BUCKETS = 1e-3, 4, 70
Latency = Mapping[str, int]  # how many fell into each bucket that is not empty, by its number: JSON has no other keys


def bucket(seconds: float) -> str:
    """The bucket that holds `seconds`."""
    if seconds <= FIRST_S:
        return "0"
    return str(min(BUCKETS - 1, math.ceil(_PER_OCTAVE * math.log2(seconds / FIRST_S))))


def together(counts: Iterable[Latency]) -> dict[str, int]:
    """All of them as one."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)


def quantile_s(counts: Latency, share: float) -> float | None:
    """Seconds within which `share` of the pictures were done; None where there are none."""
    rank = share * sum(counts.values())
    for at, count in sorted((int(at), count) for at, count in counts.items() if count > 0):
        if rank <= count:
            return _edge_s(at - 1 + rank / count) if at else FIRST_S * rank / count
        rank -= count
    return None


def _edge_s(at: float) -> float:
    return float(FIRST_S * 2 ** (at / _PER_OCTAVE))
