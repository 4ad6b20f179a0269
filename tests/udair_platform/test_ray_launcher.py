"""The Ray launcher against a real Ray head with token auth: launch twice, look, stop, and be refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import ray_nodes

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.ray import RayLauncher

pytestmark = pytest.mark.slow

# See test_launchers.py: an interpreter that runs what the "spec" says.
INTERPRETER = """#!/bin/sh
for word in "$@"; do case "$word" in spec=*) exec /bin/sh -c "${word#spec=}";; esac; done
exit 9
"""


@pytest.fixture(scope="module")
def ray_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the dashboard of a head node that belongs to this module."""
    with pytest.MonkeyPatch.context() as environment:
        with ray_nodes(tmp_path_factory.mktemp("ray") / "ray.log", head_cpus=2) as nodes:
            for name, value in nodes.environment.items():
                environment.setenv(name, value)
            yield nodes.dashboard_url


@pytest.fixture
def launcher(ray_head: str, tmp_path: Path) -> RayLauncher:
    python = tmp_path / "python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    return RayLauncher(ray_head, python=str(python), num_cpus=1)


def reach(launcher: RayLauncher, id: str, *states: LaunchState, within_s: float = 90) -> LaunchState:
    deadline = time.monotonic() + within_s
    while (state := launcher.status(id)) not in states and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state in states
    return state


def test_launched_twice_it_runs_once_and_its_log_is_read(launcher: RayLauncher, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    request = LaunchRequest("j-a-1", f"echo said; echo ran >> '{mark}'")
    launcher.launch(request)
    launcher.launch(request)

    reach(launcher, "j-a-1", LaunchState.SUCCEEDED)
    launcher.launch(request)
    assert mark.read_text() == "ran\n"
    assert "said" in launcher.logs("j-a-1")


def test_failed_stopped_and_unknown_attempts(launcher: RayLauncher) -> None:
    launcher.launch(LaunchRequest("j-b-1", "exit 3"))
    launcher.launch(LaunchRequest("j-c-1", "sleep 300"))
    reach(launcher, "j-b-1", LaunchState.FAILED)
    reach(launcher, "j-c-1", LaunchState.RUNNING)

    launcher.stop("j-c-1")

    reach(launcher, "j-c-1", LaunchState.STOPPED)
    launcher.stop("j-none-1")
    assert launcher.status("j-none-1") is LaunchState.UNKNOWN
    assert launcher.logs("j-none-1") == ""


def test_without_the_token_nothing_is_told_or_done(ray_head: str, monkeypatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 32)

    with pytest.raises(LauncherDown, match="refused our token"):
        RayLauncher(ray_head).launch(LaunchRequest("j-d-1", "true"))
