"""Tickets: good for one purpose, until they end, under the keys that the platform has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from udair_platform.signing import Purpose, encode, seal
from udair_platform.tickets import Forged, Over, Tickets

START = datetime(2026, 3, 1, tzinfo=UTC)
KEY, OTHER = b"k" * 32, b"o" * 32


def at(seconds: float, key: bytes = KEY, previous: bytes | None = None) -> Tickets:
    return Tickets(lambda: START + timedelta(seconds=seconds), key, previous)


def test_a_ticket_carries_its_facts_until_it_ends() -> None:
    ticket, until = at(0).give(Purpose.UPLOAD, ["a/b.png", 3, {"c": None}], timedelta(seconds=60))

    assert until == START + timedelta(seconds=60)
    assert at(59.9).open(Purpose.UPLOAD, ticket) == (["a/b.png", 3, {"c": None}], until)
    with pytest.raises(Over, match=r"good until 2026-03-01T00:01:00\+00:00"):
        at(60).open(Purpose.UPLOAD, ticket)


def test_it_is_good_for_nothing_else_and_under_no_other_key() -> None:
    ticket, _ = at(0).give(Purpose.UPLOAD, ["a"], timedelta(seconds=60))

    for tickets, purpose, text in (
        (at(1), Purpose.SHARE, ticket),
        (at(1, OTHER), Purpose.UPLOAD, ticket),
        (at(1), Purpose.UPLOAD, ticket[:-1] + ("A" if ticket[-1] != "A" else "B")),
        (at(1), Purpose.UPLOAD, encode(b"short")),
        (at(1), Purpose.UPLOAD, ""),
        (at(1), Purpose.UPLOAD, seal(OTHER, Purpose.UPLOAD, b"no JSON")),
    ):
        with pytest.raises(Forged):
            tickets.open(purpose, text)


def test_it_outlives_a_rotation_of_the_signing_key_by_one() -> None:
    ticket, _ = at(0).give(Purpose.UPLOAD, ["a"], timedelta(seconds=60))

    assert at(1, OTHER, previous=KEY).open(Purpose.UPLOAD, ticket)[0] == ["a"]
    with pytest.raises(Over):
        at(61, OTHER, previous=KEY).open(Purpose.UPLOAD, ticket)
