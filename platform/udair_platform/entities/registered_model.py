"""A registered base model: adapters are bound to its digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class RegisteredModel:
    """A registered base model: adapters are bound to its digest."""

    name: str
    digest: str
    uri: str
    created_time: datetime
    seq: int = 0
