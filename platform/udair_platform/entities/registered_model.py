"""A registered base model: adapters are bound to its digest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from udair_platform.entities.text import Name


@dataclass(frozen=True)
class RegisteredModel:
    """A registered base model: adapters are bound to its digest."""

    name: Name
    digest: Name
    uri: str
    created_time: datetime
    seq: int = 0
