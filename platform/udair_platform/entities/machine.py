"""The one function that consults a noun's transition table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from udair_platform.errors import InvalidState

S = TypeVar("S", bound=StrEnum)


def check(noun: str, name: str, table: Mapping[S, frozenset[S]], current: S, to: S) -> None:
    """Refuse a move that `table` does not have.

    Raises:
        InvalidState: Names the noun, its state, and where it could go instead.
    """
    allowed = table[current]
    if to not in allowed:
        ways = ", ".join(sorted(allowed)) or "nothing: the state is final"
        raise InvalidState(f"{noun} {name} is {current} and cannot become {to}; it may become {ways}.")


def terminal(table: Mapping[S, frozenset[S]]) -> frozenset[S]:
    """The states that nothing leaves."""
    return frozenset(state for state, ways in table.items() if not ways)
