"""Events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from udair_platform.contract.value import Value


class Event(Value):
    """One thing that happened."""

    id: int
    time: datetime
    actor: str
    cause: str
    noun: str
    name: str
    kind: str
    data: dict[str, Any]
