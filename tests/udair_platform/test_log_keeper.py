"""Logs are copied beside the reconciler's turns, one copy of a log after the other."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from udair_platform.entities.job import Attempt
from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import Launcher
from udair_platform.scheduler.log_keeper import LogKeeper


class Files:
    """What is kept, copy by copy."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def keep_log(self, printed: str) -> None:
        self.kept.append(printed)


class Printing(Launcher):
    """Answers when it is let, with how often it was asked; knows nothing of what is lost."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), 0

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        self.asked += 1
        number = self.asked
        assert self.let.wait(30)
        if submission_id == "j-lost-1":
            raise LauncherDown("no answer")
        return f"{submission_id} {number}"


@pytest.fixture
def launcher():
    made = Printing()
    yield made
    made.let.set()


def attempt(id: str = "j-1-1") -> Attempt:
    return Attempt("j-1", "acme", 1, id, "file:///x", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_log_that_does_not_come_is_asked_for_once_and_its_end_comes_after_it(launcher) -> None:
    keeper, files = LogKeeper(launcher, end_wait_s=0.1), Files()
    for _ in range(5):
        keeper.keep(attempt(), files)
    began = time.monotonic()
    keeper.keep_end(attempt(), files)  # waits a moment, and no longer
    assert time.monotonic() - began < 10
    assert files.kept == []
    launcher.let.set()
    keeper.rest()
    ends = time.monotonic() + 10
    while len(files.kept) < 2 and time.monotonic() < ends:
        time.sleep(0.01)
    assert files.kept == ["j-1-1 1", "j-1-1 2"], "the end was copied last, and nothing in between"


def test_whoever_waits_for_an_end_has_all_of_it(launcher) -> None:
    launcher.let.set()
    keeper, files = LogKeeper(launcher, end_wait_s=10), Files()
    keeper.keep_end(attempt(), files)
    assert files.kept == ["j-1-1 1"]


def test_one_log_that_is_lost_costs_no_other(launcher) -> None:
    launcher.let.set()
    keeper, files = LogKeeper(launcher, end_wait_s=10), Files()
    keeper.keep_end(attempt("j-lost-1"), files)
    keeper.keep_end(attempt("j-2-1"), files)
    assert files.kept == ["j-2-1 2"]
