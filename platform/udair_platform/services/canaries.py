"""Canaries that are taken away because they restore worse than the champion, by what replicas saw of both.

Both restored pictures of the same domain on the same stretch of time. The canary is worse where it surely leaves more
grain in flat places, or surely moves the light further, by more than a bound. What came must have been alike: a
canary that is shared out by routing keys may have other cameras than the champion.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from udair_platform.entities.alias import CHAMPION
from udair_platform.errors import NotFound
from udair_platform.services import traffic
from udair_platform.services.change import Change

WORSE = "route.canary_worse"
FEWEST = 50  # pictures of each
BOUNDS: Mapping[str, float] = {"grain": 1.0, "light": 3.0}  # grey levels of 255
ALIKE = 1.0  # grey levels of grain that pictures of the two may differ by as they come
SURE = 3.0  # standard errors


@dataclass(frozen=True)
class Figure:
    """A mean over pictures, and the variance of that mean."""

    images: int
    mean: float
    variance: float

    @classmethod
    def of(cls, parts: Iterable[tuple[float, float, float]]) -> Figure:
        """Of the (images, sum, sum of squares) of some replicas."""
        images, total, squares = (sum(column) for column in zip((0, 0.0, 0.0), *parts, strict=True))
        if images < 2:
            return cls(int(images), total, math.inf)
        mean = total / images
        return cls(int(images), mean, max(0.0, squares / images - mean * mean) / (images - 1))


@dataclass(frozen=True)
class Seen:
    """What one replica has seen of a champion and its canary, since `began`.

    Attributes:
        sums: By version, and by figure: images, sum, and sum of squares.
    """

    champion: int
    canary: int
    began: datetime
    sums: Mapping[int, Mapping[str, tuple[float, float, float]]]

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Seen:
        """Read a report's ``residuals``. Raises ValueError, KeyError, TypeError or AttributeError."""
        sums = {
            int(version): {name: (float(one[0]), float(one[1]), float(one[2])) for name, one in figures.items()}
            for version, figures in told["versions"].items()
        }
        return cls(int(told["champion"]), int(told["canary"]), datetime.fromtimestamp(told["began_time"], UTC), sums)


@dataclass(frozen=True)
class Finding:
    """A canary that is surely worse than its champion.

    Attributes:
        name: ``tenant/domain``.
        evidence: Both means with their pictures, bound, how sure, and the stretch of time.
    """

    name: str
    champion: int
    canary: int
    evidence: dict[str, Any]


class CanaryJudge:
    """Remembers what each replica's report says of canaries, and compares over all replicas."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Seen]] = {}

    def note(self, report: str, domains: Mapping[str, Any]) -> None:
        """What a replica's report says now, in place of what it said before; it raises what `Seen.parse` does."""
        told = {str(name): one["residuals"] for name, one in domains.items() if one.get("residuals")}
        self._told[report] = {name: Seen.parse(one) for name, one in told.items()}

    def keep(self, reports: Collection[str]) -> None:
        """Forget what reports said that are there no more."""
        self._told = {report: told for report, told in self._told.items() if report in reports}

    def findings(self) -> list[Finding]:
        """Canaries that are worse; whether each is in the route still, nobody has asked yet."""
        pairs: dict[tuple[str, int, int], list[Seen]] = {}
        for told in self._told.values():
            for name, one in told.items():
                pairs.setdefault((name, one.champion, one.canary), []).append(one)
        found = [_finding(*pair, parts) for pair, parts in pairs.items()]
        return [finding for finding in found if finding is not None]


def roll_back(tx: Change, finding: Finding) -> bool:
    """Take a canary away that was found worse, if the route still has it and wants that; whether it did."""
    tenant, _, name = finding.name.partition("/")
    try:
        domain = tx.state.domains.get(tenant, name)
    except NotFound:
        return False
    canary, champion = domain.traffic.canary, tx.state.aliases.get(tenant, domain.id, CHAMPION).version
    wanted = domain.traffic.canary_auto_rollback and canary is not None and canary.version == finding.canary
    if not wanted or champion != finding.champion:
        return False
    evidence = finding.evidence | {"until": tx.now.isoformat(timespec="seconds")}
    tx.record(domain, WORSE, evidence, noun="route")
    reason = f"canary {finding.canary} restored worse than version {finding.champion}: {finding.evidence['figure']}"
    traffic.save(tx, domain, domain.traffic.model_copy(update={"canary": None}), reason=reason)
    return True


def _finding(name: str, champion: int, canary: int, parts: list[Seen]) -> Finding | None:
    def figure(version: int, what: str) -> Figure:
        told = (part.sums.get(version, {}).get(what) for part in parts)
        return Figure.of(one for one in told if one is not None)

    came = figure(champion, "came"), figure(canary, "came")
    for what, bound in BOUNDS.items():
        ours, theirs = figure(champion, what), figure(canary, what)
        if min(ours.images, theirs.images) < FEWEST:
            continue
        if what == "grain" and abs(came[0].mean - came[1].mean) > ALIKE:
            continue
        error = math.sqrt(ours.variance + theirs.variance)
        if theirs.mean - ours.mean - SURE * error > bound:
            evidence = {
                "figure": what,
                "version": canary,
                "measured": round(theirs.mean, 3),
                "images": theirs.images,
                "champion": champion,
                "champion_measured": round(ours.mean, 3),
                "champion_images": ours.images,
                "bound": bound,
                "error": round(error, 4),
                "came": round(came[1].mean, 3),
                "champion_came": round(came[0].mean, 3),
                "from": min(part.began for part in parts).isoformat(timespec="seconds"),
            }
            return Finding(name, champion, canary, evidence)
    return None
