"""What the replicas of the data plane have seen of a domain: its usage, and whether it drifts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from udair_jobs.storage import NotFound, Storage, StorageError
from udair_platform.entities.domain import Domain
from udair_platform.errors import StoreDown
from udair_platform.registry import layout
from udair_platform.registry.reports import STALE

_MAX_BYTES = 64 * 2**20


@dataclass
class Observed:
    """One domain over all replicas.

    Attributes:
        images, pixels, forward_s: Since the replicas began; a replica that is gone is not counted.
        drift: Its newest windows, one for each replica, newest first.
        blocked: Versions that a replica cannot load, with the reason.
        replicas: That have seen the domain.
        since: When the oldest of them began, seconds since the epoch.
    """

    images: int = 0
    pixels: int = 0
    forward_s: float = 0.0
    drift: list[dict[str, Any]] = field(default_factory=list)
    blocked: list[dict[str, Any]] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)
    since: float | None = None


def of_domain(store: Storage, domain: Domain, now: datetime) -> Observed:
    """What all replicas say of `domain`.

    Raises:
        StoreDown: The store does not answer.
    """
    seen, name = Observed(), f"{domain.tenant}/{domain.name}"
    for report in _fresh(store, now.timestamp()):
        told = report["domains"].get(name)
        if not isinstance(told, dict):
            continue
        usage = told.get("usage") or {}
        seen.images += int(usage.get("images", 0))
        seen.pixels += int(usage.get("pixels", 0))
        seen.forward_s += float(usage.get("forward_s", 0.0))
        seen.replicas.append(str(report.get("replica", "")))
        began = float(report.get("began_time", report["time"]))
        seen.since = began if seen.since is None else min(seen.since, began)
        if told.get("drift"):
            seen.drift.append(told["drift"])
        if told.get("blocked"):
            seen.blocked.append(told["blocked"])
    seen.drift.sort(key=lambda window: str(window.get("ended_time", "")), reverse=True)
    return seen


def _fresh(store: Storage, now: float) -> Iterator[dict[str, Any]]:
    try:
        for item in list(store.list(layout.REPORTS)):
            try:
                report = json.loads(store.get(item.key, max_bytes=_MAX_BYTES))
                if now - float(report["time"]) <= STALE.total_seconds() and isinstance(report["domains"], dict):
                    yield report
            except (NotFound, ValueError, KeyError, TypeError):
                continue  # gone, or half a report: the next one is whole
    except NotFound:
        return
    except StorageError as error:
        raise StoreDown(f"The replicas' reports cannot be read: {error}") from error
