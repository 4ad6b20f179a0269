"""kill -9 between any two steps: one job, one version, whatever the moment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fuse import Fuse, Killed, MortalDatabase, MortalLauncher, MortalStore

from udair_platform.documents import routes
from udair_platform.entities.job import JobState


def live(plane, fuse: Fuse, job_id: str, during: Callable[[int], None] = lambda _: None) -> int:
    """Tick until the job is done; after each death a new reconciler, once the lease has run out; the number of deaths."""

    def born():
        return plane.restarted(
            database=MortalDatabase(plane.database, fuse),
            store=MortalStore(plane.store, fuse),
            launcher=MortalLauncher(plane.launcher, fuse),
        )

    reconciler, settled, deaths = born(), 0, 0
    for turn in range(60):
        try:
            reconciler.tick()
            reconciler.rest()
            if fuse.blown and not deaths:
                raise Killed("in a thread beside the turn, where logs are copied")
        except Killed:
            reconciler, deaths = born(), deaths + 1
            plane.clock.forward(16)
        during(turn)
        plane.clock.forward(20)
        settled += plane.job(job_id).done  # one more tick after the end: routes follow
        if settled > 1:
            return deaths
    pytest.fail(f"not done after 60 ticks: {plane.job(job_id)}")


def check(plane, job_id: str, *, attempts: int) -> None:
    """One version, no state outside the table, one launch per attempt, and nothing left to do."""
    job = plane.job(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.version == 1
    assert len(plane.launcher.launched) == len(set(plane.launcher.launched)) == attempts
    with plane.database.read() as state:
        assert len(state.versions.page("acme", job.domain_id)) == 1
        assert state.snapshots.get("acme", job.snapshot_id).state == "ACTIVE"
        kinds = [e.kind for e in state.events.page("acme", noun="job", name=job_id)]
        assert kinds.count("job.SUCCEEDED") == 1
        assert kinds.count("job.QUEUED") == 1
        assert routes.render(state) == routes.read(plane.store)


def steps_of(make_plane, script: list[str]) -> int:
    """How many places to die there are in an undisturbed life."""
    plane, fuse = make_plane(), Fuse()
    plane.launcher.script = list(script)
    live(plane, fuse, plane.submit(plane.domain()).id)
    return fuse.burnt


@pytest.mark.parametrize(("script", "attempts"), [([], 1), pytest.param(["vanish"], 2, marks=pytest.mark.slow)])
def test_killed_at_any_step_exactly_one_version_results(make_plane, script, attempts: int) -> None:
    places = steps_of(make_plane, script)
    assert places >= 14 * attempts - 4  # the walk below has enough places to die

    for at in range(places):
        plane, fuse = make_plane(), Fuse(at)
        plane.launcher.script = list(script)
        job = plane.submit(plane.domain())
        assert live(plane, fuse, job.id) == 1
        check(plane, job.id, attempts=attempts)


def test_killed_at_every_step_in_turn(make_plane) -> None:
    """Each life gets one step further than the one before."""
    plane = make_plane()
    job = plane.submit(plane.domain())
    fuse = Fuse(at=0)

    class Relentless(Fuse):
        def burn(self, what: str) -> None:
            if fuse.at == fuse.burnt:
                fuse.at, fuse.burnt = fuse.at + 1, 0
                raise Killed(what)
            fuse.burnt += 1

    deaths = live(plane, Relentless(), job.id)
    assert deaths == fuse.at > 5
    check(plane, job.id, attempts=1)


@pytest.mark.slow
def test_killed_at_any_step_of_a_cancellation(make_plane) -> None:
    def cancel_in_second_tick(plane, job_id: str) -> Callable[[int], None]:
        def during(turn: int) -> None:
            if turn == 1 and not plane.job(job_id).done:
                assert plane.client.post(f"/v1/domains/-/jobs/{job_id}:cancel").status_code == 200

        return during

    plane, fuse = make_plane(), Fuse()
    plane.launcher.script = ["run"]
    job = plane.submit(plane.domain())
    assert live(plane, fuse, job.id, cancel_in_second_tick(plane, job.id)) == 0
    assert fuse.burnt >= 14  # the walk below has enough places to die

    for at in range(fuse.burnt):
        plane, fuse = make_plane(), Fuse(at)
        plane.launcher.script = ["run"]
        job = plane.submit(plane.domain())
        assert live(plane, fuse, job.id, cancel_in_second_tick(plane, job.id)) == 1
        assert plane.job(job.id).state is JobState.CANCELLED
        with plane.database.read() as state:
            assert state.versions.page("acme", job.domain_id) == []
            assert all(item.finished_time is not None for item in state.attempts.of_job("acme", job.id))
