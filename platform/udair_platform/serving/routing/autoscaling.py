"""How many replicas an endpoint needs: pixels that wait, over what one replica restores in the time wanted.

A request is no measure of work here: one of 24 megapixels takes what 366 of 256 x 256 take.

Ray Serve asks the policy a few times a second; `decide` is the arithmetic alone, which the simulation
in `benchmarks/autoscale.py` replays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scaling:
    """Bounds and speeds.

    Attributes:
        min_replicas, max_replicas: Bounds. From zero the first request that waits starts a replica, at once.
        target_pixels: Pixels that may wait, or be worked on, for each replica.
        up_after_s, down_after_s: The need must last that long before replicas are added, or removed.
        handover_s: Between two that are removed: what the first one held is ready elsewhere by then.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    target_pixels: float = 8 * 256 * 256
    up_after_s: float = 5.0
    down_after_s: float = 300.0
    handover_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas or not self.max_replicas:
            raise ValueError(
                f"replicas are {self.min_replicas} to {self.max_replicas}; expected 0 <= min <= max, and 1 <= max."
            )


def wanted(waiting_pixels: float, scaling: Scaling) -> int:
    """Replicas for so many waiting pixels, within bounds."""
    need = math.ceil(waiting_pixels / scaling.target_pixels)
    return min(max(need, scaling.min_replicas), scaling.max_replicas)


def decide(
    now: float, current: int, waiting_pixels: float, scaling: Scaling, state: dict[str, Any]
) -> tuple[int, dict[str, Any]]:
    """Replicas to have from now on, and what to remember until the next time.

    The peak of the need over `down_after_s` is kept, so that a pause of the traffic removes nothing
    that the next burst needs; growth follows the least need of `up_after_s`, so that one large image
    adds nothing. Replicas go one at a time.

    Args:
        now: Seconds, monotonic.
        current: Replicas there are, or are being started.
        state: What the last call returned.
    """
    need_now = wanted(waiting_pixels, scaling)
    if not current and need_now:  # somebody waits, and nobody is there
        return need_now, {"needs": [(now, need_now)], "began": now}
    history = [(at, need) for at, need in state.get("needs", []) if now - at <= scaling.down_after_s]
    history.append((now, need_now))
    recent = [need for at, need in history if now - at <= scaling.up_after_s]
    began = state.get("began", now)
    grow = min(recent) if now - began >= scaling.up_after_s else current
    keep = max(need for _, need in history) if now - began >= scaling.down_after_s else current
    went = state.get("went", -math.inf)
    fewest = current - 1 if now - went >= scaling.handover_s else current
    target = max(grow, min(current, max(keep, fewest)))
    bounded = min(max(target, scaling.min_replicas), scaling.max_replicas)
    return bounded, {"needs": _thinned(history), "began": began, "went": now if bounded < current else went}


class PixelPolicy:
    """The policy as Ray Serve calls it.

    Args:
        scaling: `Scaling`'s fields.
    """

    def __init__(self, **scaling: Any) -> None:
        self._scaling = Scaling(**scaling)

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Ray's contract: (replicas, state)."""
        by_replica = (context.aggregated_metrics or {}).get("waiting_pixels", {})
        waiting = float(sum(by_replica.values()))
        # Requests that no replica has accepted yet are not in any replica's pixels.
        queued = float(context.total_queued_requests or 0.0)
        return decide(
            context.current_time or 0.0,
            context.target_num_replicas,
            waiting + queued * 256 * 256,
            self._scaling,
            context.policy_state or {},
        )


def _thinned(history: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Runs of the same need keep their first and last moment: an hour of calm is two entries."""
    kept: list[tuple[float, int]] = []
    for entry in history:
        if len(kept) >= 2 and kept[-1][1] == kept[-2][1] == entry[1]:
            kept[-1] = entry
        else:
            kept.append(entry)
    return kept
