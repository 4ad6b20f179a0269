"""kill -9 of real processes at seeded moments: no job is lost, none succeeds twice, nothing is left over."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from control_processes import ControlProcesses

from udair_platform.documents import routes
from udair_platform.entities import job, snapshot, version
from udair_platform.entities.job import ATTEMPT_TERMINAL, AttemptState, JobState
from udair_platform.entities.snapshot import SnapshotState
from udair_platform.entities.version import VersionState
from udair_platform.errors import StateUnavailable
from udair_platform.scheduler.launchers.supervise import CLAIM, EXIT_CODE, start_time
from udair_platform.services import domains
from udair_platform.services.change import Change

TENANT, DOMAIN = "default", "foggy-cams"


@pytest.fixture
def control(tmp_path: Path, empty_database) -> Iterator[ControlProcesses]:
    url = empty_database()
    made = ControlProcesses(
        tmp_path / "home", database_url=url, lease_ttl_s=0.6, reconcile_interval_s=0.05, max_concurrent_jobs=8
    )
    with made.database.write() as state:
        tx = Change(state, "test", now(), objects=made.store)
        domains.create(tx, tenant=TENANT, name=DOMAIN, source_uri="s3://photos/cams")
    with made:
        yield made


def now() -> datetime:
    return datetime.now(UTC)


def submit(control: ControlProcesses, key: str, until: float) -> str:
    """Ask for one job as often as it takes; its id."""
    while time.monotonic() < until:
        request = urllib.request.Request(
            f"{control.url}/v1/domains/{DOMAIN}/jobs",
            b"{}",
            method="POST",
            headers={
                "Authorization": f"Bearer {control.token}",
                "Idempotency-Key": key,
                "Content-Type": "application/json",
            },
        )
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=5) as reply:
            return str(json.load(reply)["id"])
        time.sleep(0.1)  # the API is being killed, or takes the one that was killed for alive
    raise TimeoutError(f"job {key} was not accepted")


def await_done(control: ControlProcesses, ids: Sequence[str], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with control.database.read() as state:
            waiting = [id for id in ids if not state.jobs.get(TENANT, id).done]
        if not waiting:
            return
        time.sleep(0.1)
    raise TimeoutError(f"not done after {within_s:g} s: {waiting}; see {control.settings.home}/logs")


def check_walk(states: Sequence[str], table: Mapping, first: object) -> None:
    """Every step from one recorded state to the next is in the table."""
    kind = type(first)
    current = first
    for name in states:
        if kind(name) is not current:
            assert kind(name) in table[current], f"{current} -> {name} is in no table; the walk was {list(states)}"
            current = kind(name)


def check(control: ControlProcesses, ids: Sequence[str]) -> None:
    """Each job succeeded once; the log holds legal walks only; launcher and database agree."""
    with control.database.read() as state:
        everything = state.events.page(TENANT, size=100_000)
        found = {item.id: item for item in state.jobs.page(TENANT, size=1000)}
        domain = state.domains.get(TENANT, DOMAIN)
        versions = state.versions.page(TENANT, domain.id, size=1000)
        attempts = [one for id in found for one in state.attempts.of_job(TENANT, id)]
        assert routes.render(state) == routes.read(control.store)
    walks: dict[tuple[str, str], list[str]] = {}
    for event in everything:
        walks.setdefault((event.noun, event.name), []).append(event.kind.partition(".")[2])
    tables = {
        "job": (job.JOB_TRANSITIONS, JobState.QUEUED),
        "attempt": (job.ATTEMPT_TRANSITIONS, AttemptState.PENDING),
        "version": (version.TRANSITIONS, VersionState.CREATING),
        "snapshot": (snapshot.TRANSITIONS, SnapshotState.SCANNING),
    }
    for (noun, _), states in walks.items():
        if noun in tables:
            check_walk(states, *tables[noun])

    assert set(found) == set(ids)
    assert {item.state for item in found.values()} == {JobState.SUCCEEDED}
    for id in ids:
        assert walks["job", id].count("SUCCEEDED") == 1
        assert [one.state for one in attempts if one.job_id == id].count(AttemptState.SUCCEEDED) == 1
    assert sorted(item.number for item in versions) == list(range(1, len(ids) + 1))
    assert {item.job_id for item in versions} == set(ids)
    assert all(one.state in ATTEMPT_TERMINAL for one in attempts)

    folder = control.settings.home / "launcher"
    launched = {path.name for path in folder.iterdir()}
    assert launched <= {one.submission_id for one in attempts}, "something runs that the database does not know"
    for path in folder.iterdir():
        pid, _, began = (path / CLAIM).read_text().strip().partition(" ")
        assert (path / EXIT_CODE).exists() or start_time(int(pid)) != began, f"{path.name} still runs"


def storm(control: ControlProcesses, *, kills: int, jobs: int, seed: int) -> None:
    rng = random.Random(seed)
    ids: list[str] = []
    until = time.monotonic() + 300

    def submit_all() -> None:
        for number in range(jobs):
            ids.append(submit(control, f"storm-{number}", until))
            time.sleep(gap)

    gap = 0.75 * kills / jobs * 0.8
    for role in ("api", "scheduler"):
        control.start(role)
    control.await_ready()
    submitter = threading.Thread(target=submit_all)
    submitter.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.1, 1.4))
        role = rng.choice(("api", "scheduler"))
        control.kill(role)
        control.start(role)
    submitter.join(330)
    assert len(ids) == jobs
    await_done(control, ids, 120)
    time.sleep(1.0)  # supervisors write their exit codes, and the routes follow
    check(control, ids)


def test_ten_kills_during_ten_jobs(control: ControlProcesses) -> None:
    storm(control, kills=10, jobs=10, seed=1)


@pytest.mark.slow
def test_a_hundred_kills_during_fifty_jobs(control: ControlProcesses) -> None:
    storm(control, kills=100, jobs=50, seed=0)


def test_stopped_reconciler_process_is_overtaken_and_harmless_when_it_goes_on(control: ControlProcesses) -> None:
    control.start("api")
    control.start("scheduler", "first")
    control.await_ready()
    until = time.monotonic() + 120
    ids = [submit(control, "one", until)]
    await_done(control, ids, 60)
    control.start("scheduler", "second")

    while True:  # not while it holds the one lock of a SQLite file
        control.send("first", signal.SIGSTOP)
        try:
            with control.database.write():
                break
        except StateUnavailable:
            control.send("first", signal.SIGCONT)
    ids.append(submit(control, "two", until))
    await_done(control, ids, 60)
    control.send("first", signal.SIGCONT)
    ids.append(submit(control, "three", until))
    await_done(control, ids, 60)

    time.sleep(1.0)
    check(control, ids)
