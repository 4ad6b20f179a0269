"""The heartbeat: every change of phase is written, and little else."""

from __future__ import annotations

import math

import pytest
from heartbeats import read_progress

from udair_jobs.runtime.reporting import PROGRESS, Reporter
from udair_jobs.specs import PHASES
from udair_jobs.storage import StorageUnavailable, open_storage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    return open_storage(str(tmp_path))


def test_before_the_first_heartbeat_there_is_none(store):
    assert read_progress(store) is None


def test_updates_are_throttled_and_changes_of_phase_are_not(store, clock):
    reporter = Reporter(store, clock=clock)
    reporter.report("FETCHING", 0.0)
    reporter.report("FETCHING", 0.5, {"objects": 7})
    assert read_progress(store).metrics == {}

    clock.now += 1.0
    reporter.report("FETCHING", 0.6)
    assert read_progress(store).metrics == {"objects": 7}

    reporter.report("EMBEDDING", 0.0, message="looking")
    progress = read_progress(store)
    assert (progress.phase, progress.message) == ("EMBEDDING", "looking")


def test_phases_are_listed_with_their_seconds_also_when_they_return(store, clock):
    reporter = Reporter(store, clock=clock)
    for phase, seconds in (("FETCHING", 2.0), ("ADAPTING", 5.0), ("EVALUATING", 1.0), ("ADAPTING", 4.0)):
        reporter.report(phase)
        clock.now += seconds
    listed = [(record.phase, record.seconds) for record in reporter.phases()]
    assert listed == [("FETCHING", 2.0), ("ADAPTING", 9.0), ("EVALUATING", 1.0)]


def test_percent_never_falls_and_ends_at_100_with_no_time_left(store, clock):
    reporter = Reporter(store, min_interval_s=0, clock=clock)
    seen = []
    for phase in (*PHASES, "ADAPTING"):
        for fraction in (0.0, 1.0, 2.0):
            clock.now += 1
            reporter.report(phase, fraction)
            seen.append(read_progress(store).progress_percent)
    assert seen == sorted(seen)
    assert seen[-1] == 100.0
    assert read_progress(store).eta_s == 0.0


def test_numbers_that_are_no_json_are_left_out(store):
    Reporter(store).report("ADAPTING", 0.1, {"loss": math.nan, "psnr_db": 3.0, "worst": math.inf})
    assert read_progress(store).metrics == {"psnr_db": 3.0}


def test_a_store_that_is_away_costs_a_heartbeat_and_not_the_job(store, caplog):
    class Away:
        uri = "s3://away"

        def put(self, key, data):
            raise StorageUnavailable("s3://away/progress.json", "nothing answers.")

    Reporter(Away()).report("FETCHING", 0.5)
    assert "heartbeat not written" in caplog.text


def test_an_unknown_phase_is_refused(store):
    with pytest.raises(ValueError, match="phase 'COOKING' is unknown"):
        Reporter(store).report("COOKING")
    assert not store.exists(PROGRESS)
