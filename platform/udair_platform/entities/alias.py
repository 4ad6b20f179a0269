"""An alias: a name that points at a version of a domain, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"


@dataclass(frozen=True)
class Alias:
    """A name that points at a version of a domain; `champion` is what serves."""

    domain_id: str
    tenant: str
    name: str
    version: int
    updated_time: datetime
    row_version: int = 1


@dataclass(frozen=True)
class AliasChange:
    """One line of an alias's history: append-only, answers "what served when, and who decided"."""

    domain_id: str
    tenant: str
    name: str
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    time: datetime
    seq: int = 0
