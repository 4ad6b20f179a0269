"""Fetching with threads: in order, a few ahead and no more, and dropped at once when nobody wants the rest."""

from __future__ import annotations

import threading

import pytest

from udair_jobs.images.downloads import in_order


def test_results_come_in_order_whichever_is_ready_first():
    second = threading.Event()

    def work(number):
        if number == 0:
            assert second.wait(30)  # the first is done only after the second
        if number == 1:
            second.set()
        return number

    assert list(in_order(work, range(20), workers=4)) == list(range(20))


def test_no_more_is_fetched_ahead_than_twice_the_threads():
    started = []
    results = in_order(lambda number: started.append(number), range(1000), workers=3)
    next(results)
    assert len(started) <= 6
    results.close()
    assert len(started) <= 6


def test_a_failure_ends_it_without_waiting_for_what_is_still_running():
    release = threading.Event()

    def work(number):
        if number == 0:
            raise ValueError("broken")
        release.wait(60)

    try:
        with pytest.raises(ValueError, match="broken"):
            list(in_order(work, range(100), workers=4))
        assert not release.is_set()
    finally:
        release.set()


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 4
    results.close()
