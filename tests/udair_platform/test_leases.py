"""Who may act: one holder at a time, a token that fences whoever had it before, and clocks that differ."""

from __future__ import annotations

from datetime import timedelta

import pytest

from udair_platform.errors import LeaseLost


@pytest.fixture
def acquire(plane):
    def take(holder: str, ahead_s: float = 0.0, name: str = "test") -> int | None:
        with plane.database.write() as state:
            return state.leases.acquire(name, holder, now=plane.clock() + timedelta(seconds=ahead_s), ttl_s=15)

    return take


@pytest.fixture
def good(plane):
    def check(holder: str, token: int, name: str = "test") -> bool:
        try:
            with plane.database.write() as state:
                state.leases.check(name, holder, token)
        except LeaseLost:
            return False
        return True

    return check


def test_lease_passes_on_when_it_expires_and_fences_the_old_holder(plane, acquire, good) -> None:
    assert acquire("a") == 1
    assert acquire("b") is None
    plane.clock.forward(10)
    assert acquire("a") == 1
    plane.clock.forward(10)
    assert acquire("b") is None
    plane.clock.forward(4.9)
    assert acquire("b") is None
    plane.clock.forward(0.1)  # it lasts for 15 s after it was renewed, and not a moment more
    assert acquire("b") == 2
    assert not good("a", 1)
    assert good("b", 2)


def test_a_lease_of_a_clock_that_was_ahead_is_nobodys(plane, acquire, good) -> None:
    assert acquire("ahead", 3600) == 1
    assert acquire("right") == 2
    assert not good("ahead", 1)
    plane.clock.forward(60)
    assert acquire("a little ahead", 15) == 3
    assert acquire("right") is None, "clocks differ a little, and nobody takes the lease from a living one"
    plane.clock.forward(-0.1)
    assert acquire("right") == 4, "it lasts more than twice as long as any"


def test_a_lease_is_its_holders_under_its_token_and_its_name(plane, acquire, good) -> None:
    assert acquire("a") == 1
    assert acquire("b", name="other") == 1
    plane.clock.forward(3600)
    assert good("a", 1), "it has expired, and nobody took it"
    for wrong in (("b", 1), ("a", 2), ("a", 0), ("a", 1, "other"), ("a", 1, "none")):
        assert not good(*wrong)
    assert acquire("b", name="other") == 1, "who holds a lease renews it under its token, however late"


def test_it_is_known_who_holds_a_lease_and_until_when(plane, acquire) -> None:
    def held():
        with plane.database.read() as state:
            return state.leases.held("test")

    assert held() is None
    acquire("b", name="other")
    assert held() is None
    acquire("a")
    began = plane.clock()
    assert held() == ("a", began + timedelta(seconds=15))
    plane.clock.forward(10)
    acquire("a")
    assert held() == ("a", began + timedelta(seconds=25))
    plane.clock.forward(600)
    assert held() == ("a", began + timedelta(seconds=25)), "or who had it"


def test_a_lease_is_given_up_by_its_holder_only(plane, acquire, good) -> None:
    def release(holder: str) -> None:
        with plane.database.write() as state:
            state.leases.release("test", holder, now=plane.clock())

    acquire("a")
    acquire("c", name="other")
    release("b")
    release("c")
    assert acquire("b") is None
    release("a")
    assert acquire("b", name="other") is None
    assert acquire("b") == 2
    assert not good("a", 1)
