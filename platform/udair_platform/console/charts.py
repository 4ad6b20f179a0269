"""The figures behind the charts: what a script draws, and what the page says in words and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from udair_jobs.sweep.specs import Choices, Range, SweepSpec, Trial
from udair_platform.entities.event import Event

_SAID = 0.05  # smaller changes of a share are not worth a sentence


@dataclass(frozen=True)
class Change:
    """A class of images: its share when the adapter was made, and now."""

    name: str
    before: float
    now: float

    @property
    def notable(self) -> bool:
        """Whether it is worth a sentence."""
        return abs(self.now - self.before) >= _SAID


def changes(window: Mapping[str, Any] | None) -> list[Change]:
    """What a drift window says of each class, the largest change first, of equal ones what has become more.

    None without a snapshot to compare with.
    """
    if not window:
        return []
    before, now = window.get("reference_class_shares") or {}, window.get("class_shares") or {}
    rows = [Change(str(name), float(before.get(name, 0.0)), float(share)) for name, share in now.items()]
    return sorted(rows, key=lambda row: (-round(abs(row.now - row.before), 6), row.before - row.now)) if before else []


def timeline(events: Sequence[Event], window: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Divergence and its threshold over time: every recorded drift, and the newest window. None for fewer than two.

    Args:
        events: `domain.drifted`, newest first.
    """
    found: dict[float, tuple[Any, Any]] = {
        event.time.timestamp(): (event.data.get("divergence"), event.data.get("threshold")) for event in events
    }
    if window and window.get("divergence") is not None:
        found[float(window["ended_time"])] = (window["divergence"], window.get("threshold"))
    times = sorted(found)
    if len(times) < 2:
        return None
    divergences, thresholds = ([found[time][at] for time in times] for at in (0, 1))
    return {
        "kind": "lines",
        "x": times,
        "time": True,
        "unit": "bits",
        "series": [{"label": "divergence", "values": divergences}, {"label": "threshold", "values": thresholds}],
    }


def codes(profile: Mapping[str, Any] | None, window: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How often each code of the codebook is seen: in the snapshot, and in the newest traffic if its codes match."""
    shares = [float(share) for share in (profile or {}).get("code_shares") or []]
    if not shares:
        return None
    series = [{"label": "snapshot", "values": [round(100 * share, 3) for share in shares]}]
    traffic = (window or {}).get("code_shares") or []
    if len(traffic) == len(shares):
        series.append({"label": "traffic", "values": [round(100 * float(share), 3) for share in traffic]})
    return {"kind": "bars", "x": list(range(len(shares))), "time": False, "unit": "%", "series": series}


@dataclass(frozen=True)
class Axis:
    """One upright line of parallel coordinates: a hyperparameter, or the score."""

    name: str
    x: float
    low: str
    high: str


@dataclass(frozen=True)
class Line:
    """One trial: its points, and what it is: best, default, or one of five ranks."""

    points: str
    kind: str
    title: str


WIDTH, HEIGHT, _MARGIN = 900, 320, 46


def parallel(spec: SweepSpec, trials: Sequence[Trial], best: str, default: str) -> tuple[list[Axis], list[Line]]:
    """Parallel coordinates of the trials that have a score, the best drawn last.

    Args:
        trials: The best score first.
        best, default: Ids of those trials.
    """
    scored = [trial for trial in trials if trial.score_db is not None]
    scores = [trial.score_db for trial in scored if trial.score_db is not None]
    if len(scored) < 2:
        return [], []
    low, high = min(scores), max(scores)
    names = [*spec.space, "score"]
    step = (WIDTH - 2 * _MARGIN) / (len(names) - 1)
    axes = [
        Axis(name, round(_MARGIN + at * step, 1), *_ends(spec.space[name])) for at, name in enumerate(names[:-1])
    ] + [Axis("score, dB", WIDTH - _MARGIN, f"{low:+.2f}", f"{high:+.2f}")]
    lines = []
    for rank, trial in enumerate(scored):
        heights = [_share(spec.space[name], trial.values.get(name)) for name in names[:-1]]
        heights.append((trial.score_db - low) / (high - low) if trial.score_db is not None and high > low else 0.5)
        points = " ".join(f"{axis.x},{_y(height)}" for axis, height in zip(axes, heights, strict=True))
        kind = (
            "best"
            if trial.trial_id == best
            else "default"
            if trial.trial_id == default
            else f"rank{5 * rank // len(scored)}"
        )
        lines.append(Line(points, kind, f"{trial.trial_id}: {trial.score_db:+.3f} dB"))
    return axes, sorted(lines, key=lambda line: (line.kind == "best", line.kind == "default"))


def _y(share: float) -> float:
    return round(HEIGHT - _MARGIN - share * (HEIGHT - 2 * _MARGIN), 1)


def _ends(item: Range | Choices) -> tuple[str, str]:
    if isinstance(item, Choices):
        return str(item.choices[0]), str(item.choices[-1])
    return f"{item.low:g}", f"{item.high:g}"


def _share(item: Range | Choices, value: object) -> float:
    """Where a value lies between the ends of its axis, 0 to 1."""
    if isinstance(item, Choices):
        return item.choices.index(value) / (len(item.choices) - 1) if value in item.choices else 0.0
    if not isinstance(value, int | float):
        return 0.0
    low, high, at = (math.log(v) if item.log else float(v) for v in (item.low, item.high, max(value, 1e-300)))
    return min(1.0, max(0.0, (at - low) / (high - low)))
