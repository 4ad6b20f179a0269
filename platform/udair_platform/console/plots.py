"""Lines over time or steps, drawn by the server: they need no script, and their text keeps its size in every width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from udair_platform.console import wording
from udair_platform.contract.jobs import Curve, JobCurves
from udair_platform.contract.usage import DomainMetrics

WIDTH, HEIGHT = 1000, 150  # of the area that lines are drawn in; it is stretched to the width that there is
_LABELS = 4  # at most, upwards
# What a job measures after each round of its training, told apart by their names from what changes at every step.
_ROUND = "round_"
_ROUNDS: Sequence[tuple[str, str, float, Mapping[str, str]]] = (
    ("Gain over the base model, by round", "dB", 1.0, {"gain_db": "mean", "gain_low_db": "at least, 95 %"}),
    ("Noise left in its own flat places, by round", "%", 100.0, {"noise_left_share": ""}),
)
_TICKS_S: Mapping[str, int] = {"hour": 900, "day": 6 * 3600, "week": 2 * 86400, "month": 7 * 86400}


@dataclass(frozen=True)
class Line:
    """One line: its name and its SVG path, with gaps where nothing is known."""

    name: str
    path: str


@dataclass(frozen=True)
class Plot:
    """What a page draws.

    Attributes:
        said: All of it in a sentence, for those who do not see it.
        area: Below the only line; empty where there are several.
        across: Height and text of each line of the grid.
        along: Place in percent, text, and side (start, middle, end) of each mark below.
        columns: Left edge, width and text of each point, for who points at it.
    """

    title: str
    unit: str
    said: str
    lines: Sequence[Line]
    area: str
    across: Sequence[tuple[float, str]]
    along: Sequence[tuple[float, str, str]]
    columns: Sequence[tuple[float, float, str]]


def served(found: DomainMetrics) -> list[Plot]:
    """Images a second, and how long they took; none where there was nothing."""
    if not found.total.images:
        return []
    points, (begin, end) = found.points, (found.from_time, found.to_time)
    places = [_share(point.begin_time + timedelta(seconds=found.step_s / 2), begin, end) for point in points]
    times = [f"{point.begin_time:%d %b %H:%M} UTC" for point in points]
    marks = _time_marks(begin, end, _TICKS_S[found.period])
    rate = [point.images_per_s for point in points]
    slowest = max(point.p99_s or 0.0 for point in points)
    unit, factor = ("s", 1.0) if slowest >= 2 else ("ms", 1000.0)
    took = {
        name: [None if (value := getattr(point, f"{name}_s")) is None else value * factor for point in points]
        for name in ("p50", "p95", "p99")
    }
    return [
        plot("Images a second", "", {"": rate}, places, times, marks),
        plot("Waiting and model time", unit, took, places, times, marks),
    ]


def trained(found: JobCurves) -> list[Plot]:
    """A job's figures over the steps and the rounds of its training, those that have two points and more."""
    drawn = [curve for curve in found.curves if len(curve.steps) > 1]
    rounds = {curve.name.removeprefix(_ROUND): curve for curve in drawn if curve.name.startswith(_ROUND)}
    return [
        *(_by_steps(curve) for curve in drawn if not curve.name.startswith(_ROUND)),
        *(
            _by_rounds(title, unit, factor, {words: rounds[name] for name, words in lines.items()})
            for title, unit, factor, lines in _ROUNDS
            if lines.keys() <= rounds.keys()
        ),
    ]


def _by_steps(curve: Curve) -> Plot:
    last = curve.steps[-1]
    return plot(
        curve.name.removesuffix("_db").replace("_", " ").capitalize(),
        "dB" if curve.name.endswith("_db") else "",
        {"": curve.values},
        [step / last for step in curve.steps],
        [f"step {step}" for step in curve.steps],
        [(at / last, wording.number(round(at))) for at in _ticks(0.0, last) if at <= last],
        from_zero=False,
    )


def _by_rounds(title: str, unit: str, factor: float, curves: Mapping[str, Curve]) -> Plot:
    series = {name: [factor * value for value in curve.values] for name, curve in curves.items()}
    count = min(len(values) for values in series.values())
    places = [at / (count - 1) for at in range(count)]
    return plot(
        title,
        unit,
        {name: values[:count] for name, values in series.items()},
        places,
        [f"round {at + 1}" for at in range(count)],
        [(place, str(at + 1)) for at, place in enumerate(places)],
        from_zero=all(value >= 0 for values in series.values() for value in values),
    )


def plot(
    title: str,
    unit: str,
    series: Mapping[str, Sequence[float | None]],
    places: Sequence[float],
    names: Sequence[str],
    marks: Sequence[tuple[float, str]],
    *,
    from_zero: bool = True,
) -> Plot:
    """Lines of values over places along the axis.

    Args:
        series: Values by the name of their line, which needs none when it is alone; None where nothing is known.
        places: Of every value, 0 to 1.
        names: What the place of every value is called.
        marks: Places and texts below.
        from_zero: Whether the axis begins at zero; else where the values do.
    """
    known = [value for values in series.values() for value in values if value is not None]
    ticks = _ticks(0.0 if from_zero else min(known), max(known))
    low, high = ticks[0], max(ticks[-1], max(known))

    def height(value: float) -> float:
        return round(HEIGHT * (1 - (value - low) / (high - low)), 1)

    lines = [Line(name, _path(values, places, height)) for name, values in series.items()]
    return Plot(
        title,
        unit,
        f"{title}: " + "; ".join(f"{name} {_said(values, unit)}".lstrip() for name, values in series.items()),
        lines,
        _area(next(iter(series.values())), places, height) if len(series) == 1 and from_zero else "",
        [(height(tick), wording.number(float(tick))) for tick in ticks],
        [(round(100 * at, 2), text, "start" if at < 0.04 else "end" if at > 0.96 else "middle") for at, text in marks],
        _columns(series, places, names, unit),
    )


def _path(values: Sequence[float | None], places: Sequence[float], height: Callable[[float], float]) -> str:
    drawn, open_before = [], False
    for at, (value, place) in enumerate(zip(values, places, strict=True)):
        if value is None:
            open_before = False
            continue
        goes_on = at + 1 < len(values) and values[at + 1] is not None
        x, y = round(WIDTH * place, 1), height(value)
        drawn.append(f"{'L' if open_before else 'M'}{x} {y}" + ("" if open_before or goes_on else "h.1"))
        open_before = True
    return "".join(drawn)


def _area(values: Sequence[float | None], places: Sequence[float], height: Callable[[float], float]) -> str:
    line = _path([value or 0.0 for value in values], places, height)
    return f"{line}V{HEIGHT}H{round(WIDTH * places[0], 1)}Z"


def _columns(
    series: Mapping[str, Sequence[float | None]], places: Sequence[float], names: Sequence[str], unit: str
) -> list[tuple[float, float, str]]:
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(places)), 1.0]
    found = []
    for at, name in enumerate(names):
        values = [(of, line[at]) for of, line in series.items()]
        told = ", ".join(f"{of} {_with(value, unit)}".lstrip() for of, value in values if value is not None)
        found.append(
            (round(WIDTH * edges[at], 1), round(WIDTH * (edges[at + 1] - edges[at]), 1), f"{name}: {told or '–'}")
        )
    return found


def _said(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "not known"
    return f"{_with(known[-1], unit)} last, between {_with(min(known), unit)} and {_with(max(known), unit)}"


def _with(value: float, unit: str) -> str:
    return f"{wording.number(float(value))} {unit}".rstrip()


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, few of them."""
    room = high - low
    if room <= max(1e-6 * abs(high), 1e-9):  # all the same
        room = abs(high) if abs(high) > 1e-9 else 1.0
    least = room / (_LABELS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    step = power * next(size for size in (1, 2, 2.5, 5, 10) if power * size >= least * 0.999)
    first = math.floor(low / step)
    return [round(at * step, 12) for at in range(first, max(first + 1, math.ceil(high / step - 1e-9)) + 1)]


def _time_marks(begin: datetime, end: datetime, step_s: int) -> list[tuple[float, str]]:
    first = math.ceil(begin.timestamp() / step_s) * step_s
    times = [datetime.fromtimestamp(at, end.tzinfo) for at in range(first, int(end.timestamp()) + 1, step_s)]
    text = "%H:%M" if step_s < 86400 else "%d %b"
    return [(_share(time, begin, end), f"{time:{text}}") for time in times]


def _share(time: datetime, begin: datetime, end: datetime) -> float:
    return min(1.0, max(0.0, (time - begin) / (end - begin)))
