"""Attempts as real processes: found again, stopped, never started twice; and what Ray would be told."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import end_attempts

from udair_platform.errors import LauncherDown
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers import make_launcher
from udair_platform.scheduler.launchers.local import LocalLauncher
from udair_platform.scheduler.launchers.ray import RayLauncher, auth_headers, entrypoint
from udair_platform.scheduler.launchers.supervise import start_time
from udair_platform.settings import load_settings

# Stands where `python -m udair_jobs.adapt_domain spec=…` would: an interpreter that runs what the
# "spec" says, so that processes, signals and files are real and the job is not.
INTERPRETER = """#!/bin/sh
for word in "$@"; do case "$word" in spec=*) exec /bin/sh -c "${word#spec=}";; esac; done
exit 9
"""


@pytest.fixture
def launcher(tmp_path: Path) -> LocalLauncher:
    python = tmp_path / "python"
    python.write_text(INTERPRETER)
    python.chmod(0o755)
    launcher = LocalLauncher(tmp_path / "launcher", python=str(python))
    yield launcher
    end_attempts(tmp_path / "launcher")


def reach(launcher: LocalLauncher, id: str, *states: LaunchState, within_s: float = 20) -> LaunchState:
    deadline = time.monotonic() + within_s
    while (state := launcher.status(id)) not in states and time.monotonic() < deadline:
        time.sleep(0.02)
    assert state in states
    return state


def again(launcher: LocalLauncher) -> LocalLauncher:
    """The launcher of a reconciler that was killed and started again."""
    return LocalLauncher(launcher._folder, python=launcher._python)


def test_process_runs_to_its_end_and_its_output_is_kept(launcher: LocalLauncher) -> None:
    launcher.launch(LaunchRequest("j-1-1", "echo out; echo err >&2"))

    reach(launcher, "j-1-1", LaunchState.SUCCEEDED)
    assert launcher.logs("j-1-1") == "out\nerr\n"
    assert launcher.logs("j-1-1", max_bytes=4) == "err\n"


def test_failure_is_told(launcher: LocalLauncher) -> None:
    launcher.launch(LaunchRequest("j-1-1", "exit 3"))

    reach(launcher, "j-1-1", LaunchState.FAILED)


def test_restarted_launcher_finds_running_and_finished_attempts(launcher: LocalLauncher) -> None:
    launcher.launch(LaunchRequest("j-1-1", "exit 0"))
    launcher.launch(LaunchRequest("j-2-1", "sleep 60"))
    reach(launcher, "j-1-1", LaunchState.SUCCEEDED)
    reach(launcher, "j-2-1", LaunchState.RUNNING)

    restarted = again(launcher)

    assert restarted.status("j-1-1") is LaunchState.SUCCEEDED
    assert restarted.status("j-2-1") is LaunchState.RUNNING
    restarted.stop("j-2-1")
    reach(restarted, "j-2-1", LaunchState.STOPPED)


def test_launching_again_is_the_same_launch(launcher: LocalLauncher, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    request = LaunchRequest("j-1-1", f"echo ran >> {mark}; sleep 0.3")
    for _ in range(5):  # a reconciler that is killed each time before it can say that it launched
        again(launcher).launch(request)
    reach(launcher, "j-1-1", LaunchState.SUCCEEDED)
    launcher.launch(request)
    time.sleep(0.3)

    assert mark.read_text() == "ran\n"


def test_stop_reaches_the_job_as_sigterm(launcher: LocalLauncher) -> None:
    launcher.launch(LaunchRequest("j-1-1", "trap 'echo stopping; exit 3' TERM; sleep 60 & wait"))
    reach(launcher, "j-1-1", LaunchState.RUNNING)
    time.sleep(0.3)  # until the trap is set

    launcher.stop("j-1-1")

    reach(launcher, "j-1-1", LaunchState.STOPPED)
    assert launcher.logs("j-1-1") == "stopping\n"


def test_killed_supervisor_takes_its_job_along_and_is_a_failure(launcher: LocalLauncher, tmp_path) -> None:
    pid_file = tmp_path / "pid"
    launcher.launch(LaunchRequest("j-1-1", f"echo $$ > {pid_file}; exec sleep 60"))
    reach(launcher, "j-1-1", LaunchState.RUNNING)
    while not (pid_file.exists() and pid_file.read_text().strip()):
        time.sleep(0.02)
    supervisor = int((launcher._folder / "j-1-1" / "claim").read_text().split()[0])

    os.kill(supervisor, signal.SIGKILL)

    reach(launcher, "j-1-1", LaunchState.FAILED)
    deadline = time.monotonic() + 5
    while start_time(int(pid_file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time(int(pid_file.read_text())) is None


def test_another_process_with_the_same_pid_is_not_taken_for_the_job(launcher: LocalLauncher) -> None:
    folder = launcher._folder / "j-1-1"
    folder.mkdir(parents=True)
    (folder / "claim").write_text(f"{os.getpid()} 12345\n")

    assert launcher.status("j-1-1") is LaunchState.FAILED
    launcher.stop("j-1-1")  # and is not killed for it


def test_unknown_attempt_is_unknown_and_stopping_it_is_no_error(launcher: LocalLauncher) -> None:
    launcher.stop("j-9-1")
    assert launcher.status("j-9-1") is LaunchState.UNKNOWN
    assert launcher.logs("j-9-1") == ""


def test_stopped_attempt_does_not_start_later(launcher: LocalLauncher) -> None:
    (launcher._folder / "j-1-1").mkdir(parents=True)
    launcher.stop("j-1-1")
    launcher.launch(LaunchRequest("j-1-1", "exit 0"))

    assert launcher.status("j-1-1") is LaunchState.STOPPED


def test_python_that_does_not_exist_is_told_in_the_log(tmp_path: Path) -> None:
    launcher = LocalLauncher(tmp_path, python="/nowhere/python")
    launcher.launch(LaunchRequest("j-1-1", "x"))

    reach(launcher, "j-1-1", LaunchState.FAILED)
    assert "cannot start /nowhere/python" in launcher.logs("j-1-1")


def test_job_sees_no_secret_of_the_control_plane(launcher: LocalLauncher, monkeypatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "ray-secret")
    monkeypatch.setenv("UDAIR_API_KEY", "ak-secret")
    for name in ("UDAIR_SIGNING_KEY_PATH", "UDAIR_PREVIOUS_SIGNING_KEY_PATH"):
        monkeypatch.setenv(name, "/path-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "needed")
    launcher.launch(LaunchRequest("j-1-1", "env"))
    reach(launcher, "j-1-1", LaunchState.SUCCEEDED)

    assert "ray-secret" not in launcher.logs("j-1-1")
    assert "ak-secret" not in launcher.logs("j-1-1")
    assert "path-secret" not in launcher.logs("j-1-1")
    assert "AWS_ACCESS_KEY_ID=needed" in launcher.logs("j-1-1")


def test_command_runs_the_jobs_module(tmp_path: Path) -> None:
    """The real interpreter and the real module: a spec that is not there is exit code 2."""
    launcher = make_launcher(load_settings(home=tmp_path))
    launcher.launch(LaunchRequest("j-1-1", f"{tmp_path}/no spec here.json"))

    reach(launcher, "j-1-1", LaunchState.FAILED, within_s=60)
    assert "no spec here.json" in launcher.logs("j-1-1")


@pytest.mark.parametrize("uri", ["/a b/spec.json", "/a';rm -rf ~;'/spec.json", "s3://b/$(id)/`x`/spec.json"])
def test_ray_entrypoint_survives_the_shell(uri: str) -> None:
    request = LaunchRequest("j-1-1", uri, "http://127.0.0.1:5000")

    said = subprocess.run(
        f"printf '%s\\n' {entrypoint('python', request)}",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.splitlines() == ["python", *request.arguments()]


def test_ray_token_is_sent_only_in_token_mode(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t0ken")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert auth_headers() == {}
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert auth_headers() == {"Authorization": "Bearer t0ken"}
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "token").write_text("of-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert auth_headers() == {"Authorization": "Bearer of-file"}
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(LauncherDown, match="cannot be read"):
        auth_headers()


def test_ray_that_is_not_there_is_down_not_broken() -> None:
    launcher = RayLauncher("http://127.0.0.1:9")
    for ask in (launcher.status, launcher.stop, launcher.logs):
        with pytest.raises(LauncherDown, match=r"127\.0\.0\.1:9"):
            ask("j-1-1")
