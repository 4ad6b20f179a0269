"""Tenants share the model's seconds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from udair_platform.serving.model.turns import Turns


def _of(tenant: str, low: bool = False) -> Any:
    return SimpleNamespace(party=(tenant, low), low=low)


def test_who_comes_anew_is_next_and_of_two_who_do_the_first():
    many, few, other = _of("many"), _of("few"), _of("other")
    turns = Turns()
    turns.waiting([many])
    turns.took(many, 3.0)
    turns.waiting([many, few, other])
    assert turns.order([many, few, other]) == [few, other, many]

    turns.took(few, 1.0)
    assert turns.order([many, few, other]) == [other, many, few]


def test_nobody_saves_up_turns_by_not_asking():
    one, other = _of("one"), _of("other")
    turns = Turns()
    turns.waiting([one])
    for _ in range(5):
        turns.took(one, 1.0)
    turns.waiting([one, other])
    turns.took(other, 1.0)  # not four more before it is the first one's turn
    assert turns.order([one, other]) == [one, other]


def test_low_priority_waits_at_a_tie_and_costs_eight_times_as_much():
    low, high = _of("one", low=True), _of("one")
    turns = Turns()
    turns.waiting([low, high])
    assert turns.order([low, high]) == [high, low]
    turns.took(low, 1.0)
    turns.took(high, 7.0)
    assert turns.order([low, high]) == [high, low]
    turns.took(high, 2.0)
    assert turns.order([high, low]) == [low, high]
