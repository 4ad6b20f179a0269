"""Paused in the middle of a step, overtaken, awake again: a reconciler then writes nothing."""

from __future__ import annotations

import threading

import pytest
from fuse import Fuse, MortalDatabase, MortalLauncher, MortalStore
from tcp_proxy import TcpProxy

from udair_platform.documents import routes
from udair_platform.entities.job import JobState
from udair_platform.errors import LeaseLost
from udair_platform.state.database import open_database


def events(plane) -> int:
    with plane.database.read() as state:
        return len(state.events.page("acme", size=1000))


def sleep_at(plane, job_id: str, at: int, ticks: int) -> Fuse:
    """Let a reconciler fall asleep at step `at`; meanwhile another takes over and ticks that often."""
    other, written = plane.restarted(), []

    def sleep(what: str) -> None:
        plane.clock.forward(16)
        for _ in range(ticks):
            assert other.tick()
            plane.clock.forward(20)
        written.append(events(plane))

    fuse = Fuse(at, sleep)
    sleeper = plane.restarted(
        database=MortalDatabase(plane.database, fuse),
        store=MortalStore(plane.store, fuse),
        launcher=MortalLauncher(plane.launcher, fuse),
    )
    for _ in range(6):
        try:
            acts = sleeper.tick()
        except LeaseLost:
            acts = False
        if written:
            assert events(plane) == written[0], f"written after {fuse.where[at]}, without the lease"
            break
        assert acts
        plane.clock.forward(20)
    for _ in range(12):
        other.tick()
        plane.clock.forward(40)
    return fuse


@pytest.mark.parametrize(
    ("script", "ticks"),
    [([], 1), *(pytest.param(*case, marks=pytest.mark.slow) for case in (([], 5), (["vanish"], 5), (["run"], 1)))],
)
def test_paused_at_any_step_and_overtaken_one_version_results(make_plane, script: list[str], ticks: int) -> None:
    plane = make_plane()
    plane.launcher.script = list(script)
    places = sleep_at(plane, plane.submit(plane.domain()).id, -1, 0).where
    assert len(places) > 14
    for at, what in enumerate(places):
        if what == "before commit":  # asleep there it holds the writers' lock: nobody overtakes it
            continue
        plane = make_plane()
        plane.launcher.script = list(script)
        job = plane.submit(plane.domain())
        sleep_at(plane, job.id, at, ticks)
        job = plane.job(job.id)
        launched = plane.launcher.launched
        assert len(launched) == len(set(launched))
        if script == ["run"]:  # never another heartbeat: whoever holds the lease gives it up, once
            assert job.state is JobState.EXPIRED
        else:
            assert (job.state, job.version, len(launched)) == (JobState.SUCCEEDED, 1, 1 + len(script))
        with plane.database.read() as state:
            kinds = [event.kind for event in state.events.page("acme", noun="job", name=job.id)]
            assert kinds.count(f"job.{job.state}") == 1
            assert routes.render(state) == routes.read(plane.store)


@pytest.mark.postgres
def test_reconciler_behind_a_network_that_stalls_is_fenced(plane, on_postgres) -> None:
    """Its packets stop in the middle of a step; they come through once another has taken over."""
    job = plane.submit(plane.domain())
    other = plane.restarted()
    lost: list[LeaseLost] = []
    with TcpProxy(on_postgres.port).running() as network:
        database = open_database(plane.settings.database_url.replace(str(on_postgres.port), str(network.port)))
        launched = threading.Event()

        def stall(what: str) -> None:
            if what == "after launch":
                network.pause()
                launched.set()

        class Stalling(Fuse):
            def burn(self, what: str) -> None:
                stall(what)

        sleeper = plane.restarted(database=database, launcher=MortalLauncher(plane.launcher, Stalling()))

        def tick() -> None:
            try:
                sleeper.tick()
            except LeaseLost as error:
                lost.append(error)

        thread = threading.Thread(target=tick)
        thread.start()
        assert launched.wait(20)
        plane.clock.forward(16)
        for _ in range(3):
            assert other.tick()
        written = events(plane)
        network.resume()
        thread.join(20)
        database.close()

    assert len(lost) == 1
    assert events(plane) == written
    assert plane.job(job.id).state is JobState.SUCCEEDED
    assert plane.launcher.launched == [f"{job.id}-1"]
