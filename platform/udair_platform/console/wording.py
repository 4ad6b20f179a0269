"""What is said to people: how a job ended and what to do about it, and when, how much and how far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from udair.adaptation.gate import AT_LEAST
from udair_platform.entities.failure_reasons import ENDINGS, UNKNOWN_ENDING


def ago(time: datetime | float | None, now: datetime) -> str:
    """`3 h ago`, `in 2 d`; seconds since the epoch do, too."""
    if time is None:
        return "never"
    if isinstance(time, int | float):
        time = datetime.fromtimestamp(time, UTC)
    seconds = (now - time).total_seconds()
    if abs(seconds) < 60:
        return "just now" if seconds >= 0 else "in a moment"
    size, unit = next((size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "min")) if abs(seconds) >= size)
    number = round(abs(seconds) / size)
    return f"{number} {unit} ago" if seconds > 0 else f"in {number} {unit}"


def number(value: float | int | None) -> str:
    """Three digits of a measurement, all of a count."""
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{round(value):,}".replace(",", "\u2009")
    return f"{value:.3g}".replace("-", "\u2212") if abs(value) >= 5e-4 else "0"


def duration(seconds: float | None) -> str:
    """`2.4 s`, `3 min 20 s`, `5.2 h`."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def percent(share: float | None) -> str:
    """`41 %`."""
    return "–" if share is None else f"{100 * share:.0f} %"


def ending(reason: str | None) -> tuple[str, str]:
    """What `reason` means, and the next step."""
    return ENDINGS.get(reason or "", UNKNOWN_ENDING)


def bar(check: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where a check's measurement and limit lie on a scale of 0 to 100 that holds both and zero.

    Returns:
        `start` and `width` of the measurement's bar from zero, the place of the `limit`, and `bound`: at least or
        at most. None where there is nothing to draw.
    """
    measured, limit = check.get("measured"), check.get("limit")
    if measured is None or limit is None:
        return None
    low, high = min(0.0, measured, limit), max(0.0, measured, limit)
    room = 0.15 * ((high - low) or 1.0)
    low, high = low - (room if low < 0 else 0.0), high + room

    def place(value: float) -> float:
        return round(float(100 * (value - low) / (high - low)), 2)

    start, end = sorted((place(0.0), place(measured)))
    bound = "at least" if check.get("name") in AT_LEAST else "at most"
    return {"start": start, "width": max(0.6, round(end - start, 2)), "limit": place(limit), "bound": bound}


def price(sum: float, currency: str) -> str:
    """`1 234.50 EUR`."""
    return f"{sum:,.2f} {currency}".replace(",", "\u2009").rstrip()
