"""The head of the Ray cluster dies under a job and comes back as another one: one more attempt, one version."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from ray_nodes import ray_nodes

from udair_platform.entities.job import JobState
from udair_platform.scheduler.launcher import LaunchState
from udair_platform.scheduler.launchers.ray import RayLauncher

pytestmark = pytest.mark.slow

# An interpreter whose first attempt runs until it is killed, and whose others do what a job does.
INTERPRETER = """#!{python}
import importlib.util, sys, time
from udair_platform.scheduler.launcher import LaunchRequest
uri = next(word for word in sys.argv if word.startswith("spec=")).removeprefix("spec=")
if "/attempts/1/" in uri:
    time.sleep(600)
sys.path[:0] = {path!r}
found = importlib.util.spec_from_file_location("plane_conftest", {conftest!r})
conftest = importlib.util.module_from_spec(found)
sys.modules["plane_conftest"] = conftest
found.loader.exec_module(conftest)
conftest.run_job(LaunchRequest("j", uri), "succeed", conftest.GOOD)
"""


def test_a_restarted_head_costs_one_attempt_and_makes_no_second_version(make_plane, tmp_path, monkeypatch) -> None:
    python = tmp_path / "python"
    python.write_text(
        INTERPRETER.format(python=sys.executable, path=sys.path, conftest=str(Path(__file__).parent / "conftest.py"))
    )
    python.chmod(0o755)
    plane = make_plane()
    with ray_nodes(tmp_path / "ray.log", head_cpus=1) as nodes:
        for name, value in nodes.environment.items():
            monkeypatch.setenv(name, value)
        launcher = RayLauncher(nodes.dashboard_url, python=str(python), num_cpus=1)
        reconciler = plane.restarted(launcher=launcher)
        job = plane.submit(plane.domain())
        tick_until(reconciler, plane, lambda: launcher.status(f"{job.id}-1") is LaunchState.RUNNING)

        nodes.kill(nodes.head)
        reconciler.tick()  # nobody answers: nothing is decided
        assert not plane.job(job.id).done
        nodes.start_head()
        plane.clock.forward(20)  # beyond the moment in which a launcher may not know yet what it was given
        tick_until(reconciler, plane, lambda: plane.job(job.id).done, forward_s=5)

    ended = plane.job(job.id)
    assert (ended.state, ended.attempt, ended.version) == (JobState.SUCCEEDED, 2, 1)
    with plane.database.read() as state:
        assert len(state.versions.page("acme", job.domain_id)) == 1
        kinds = [event.kind for event in state.events.page("acme", noun="job", name=job.id)]
    assert kinds.count("job.SUCCEEDED") == 1


def tick_until(reconciler, plane, happens, *, forward_s: float = 0, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < deadline, "it did not happen in time"
        reconciler.tick()
        plane.clock.forward(forward_s)
        time.sleep(0.5)
