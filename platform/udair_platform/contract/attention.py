"""What somebody should look at now."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from udair_platform.contract.value import Value

Kind = Literal[
    "blocked",
    "failed",
    "unreadable",
    "refused",
    "out of use",
    "as it came",
    "budget",
    "review",
    "waiting",
    "canary",
    "drift",
    "replica",
    "webhook",
]


class Concern(Value):
    """One thing that somebody should look at."""

    kind: Kind
    domain: str | None = None
    message: str
    step: str = Field(description="what to do")
    link: str = Field(description="the console's page of it, a path")


class Attention(Value):
    """Everything that somebody should look at, the most urgent kind first."""

    concerns: list[Concern]
