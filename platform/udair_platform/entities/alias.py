"""An alias: a name that points at a version of a domain, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udair_platform.entities.text import Id, Name, Prose, TenantId, Word

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"


@dataclass(frozen=True)
class Alias:
    """A name that points at a version of a domain; `champion` is what serves."""

    domain_id: Id
    tenant: TenantId
    name: Word
    version: int
    updated_time: datetime
    row_version: int = 1


@dataclass(frozen=True)
class AliasChange:
    """One line of an alias's history: append-only, answers "what served when, and who decided"."""

    domain_id: Id
    tenant: TenantId
    name: Word
    from_version: int | None
    to_version: int
    actor: Name
    reason: Prose
    time: datetime
    seq: int = 0
