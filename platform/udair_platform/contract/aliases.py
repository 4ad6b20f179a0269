"""Aliases and their history."""

from __future__ import annotations

from datetime import datetime

from udair_platform.contract.value import Value


class Alias(Value):
    """Where an alias points."""

    name: str
    version: int
    updated_time: datetime


class AliasChange(Value):
    """One move of an alias."""

    from_version: int | None
    to_version: int
    actor: str
    reason: str
    time: datetime
