"""What is said to people: how a job ended and what to do about it, and when, how much and how far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

# What happened, and what a person may do about it: one of each for every reason that a job can end with.
ENDINGS: Mapping[str, tuple[str, str]] = {
    "INVALID_SPEC": ("Its recipe or source cannot be used as written.", "Correct the recipe and run it again."),
    "DATA_EMPTY": ("There is no object below the domain's source.", "Put images there and run it again."),
    "DATA_UNREADABLE": (
        "There are objects, and too few of them are images that can be decoded.",
        "Look at the skipped objects of its snapshot, upload images that open elsewhere, and run it again.",
    ),
    "ACCESS_DENIED": (
        "The images may not be read.",
        "Check the domain's access: the role, its external id, and the bucket's policy; then run it again.",
    ),
    "TOO_FEW_IMAGES": ("The gate needs images to hold back, and there are too few.", "Add images and run it again."),
    "USER_CANCELLED": ("Somebody cancelled it.", "Run it again if that was a mistake."),
    "NO_CAPACITY": ("The cluster had no room for it.", "Nothing to do: it is tried again when there is room."),
    "QUOTA_EXCEEDED": ("The tenant has as many jobs as it may.", "Wait for others to end, or ask for a higher quota."),
    "PREEMPTED": ("Its machine was taken away.", "Nothing to do: it goes on from its last phase; else run it again."),
    "NODE_LOST": ("Its machine was lost, once for every attempt.", "Run it again; look at the cluster if that recurs."),
    "OOM": ("It needed more memory than it had.", "Lower the patch or batch of the recipe, or give jobs more memory."),
    "GPU_FAULT": ("The accelerator failed under it.", "Run it again; take that machine out if it recurs."),
    "CONTROLLER_ERROR": (
        "The platform or the job failed in a way that is not the data's fault.",
        "Look at its log; if that says nothing, tell whoever runs the platform.",
    ),
    "PENDING_TIMEOUT": ("It waited for room longer than it may.", "Add capacity and run it again."),
    "RUN_TIMEOUT": ("It ran longer than it may.", "Give it fewer images or steps, or a longer limit."),
    "HEARTBEAT_LOST": ("It fell silent.", "Look at the end of its log and run it again."),
    "DIVERGED": ("Training moved away from the target.", "Run it again with a lower learning rate."),
    "NAN_LOSS": (
        "A loss was not a number.",
        "Run it again with a lower learning rate; what served before serves meanwhile.",
    ),
}
UNKNOWN_ENDING = ("It ended for a reason that this page does not know.", "Look at its log.")
# Checks whose measurement must reach the limit; the others must not exceed it.
_AT_LEAST = frozenset({"target images", "matched gain"})


def ago(time: datetime | float | None, now: datetime) -> str:
    """`3 h ago`, `in 2 d`; seconds since the epoch do, too."""
    if time is None:
        return "never"
    if isinstance(time, int | float):
        time = datetime.fromtimestamp(time, UTC)
    seconds = (now - time).total_seconds()
    if abs(seconds) < 60:
        return "just now" if seconds >= 0 else "in a moment"
    size, unit = next(
        (size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "min")) if abs(seconds) >= size
    )  # fmt: skip
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
    bound = "at least" if check.get("name") in _AT_LEAST else "at most"
    return {"start": start, "width": max(0.6, round(end - start, 2)), "limit": place(limit), "bound": bound}


def price(hours: float, rate: float, currency: str) -> str:
    """What so many hours cost at so much an hour; empty without a price."""
    return f"{hours * rate:,.2f} {currency}".replace(",", "\u2009").rstrip() if rate else ""
