"""Ray as a part of a platform on one machine, with its real processes: slow agents, a raylet that is killed."""

import contextlib
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from processes import named

from udair_platform.local.children import marked
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform
from udair_platform.local.ray import RayHead

pytestmark = pytest.mark.slow

SLOW_AGENTS = """
import pathlib, time
command = pathlib.Path("/proc/self/cmdline").read_bytes()
if b"dashboard/agent.py" in command or b"runtime_env/agent/main.py" in command:
    time.sleep(20)
"""


@pytest.fixture
def options(tmp_path, monkeypatch):
    monkeypatch.setenv("UDAIR_BASE_URI", "packaged:tiny")
    return LocalOptions(tmp_path / "home", port=0, serve_port=0, launcher="ray")


def test_agents_that_take_longer_than_ray_waits_for_them_do_not_end_it(options, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW_AGENTS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    said = []
    with LocalPlatform(options, said.append) as platform:
        assert _answers(platform.serve_url)
    assert "Ray again, with fresh ports" not in said


def test_a_raylet_that_dies_while_ray_starts_is_seen_and_ray_starts_again(options):
    said = []
    platform = LocalPlatform(options, said.append)

    def kill_the_first() -> None:
        while not named(os.getpid(), b"/raylet/raylet"):
            time.sleep(0.01)
        os.kill(named(os.getpid(), b"/raylet/raylet")[0], signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_the_first)
        with platform:
            killed.result(0)
            assert _answers(platform.serve_url)
    assert said.count("Ray again, with fresh ports") == 1
    assert marked(platform._mark) == []


def test_a_raylet_that_ends_as_if_asked_to_is_missed_and_ray_comes_back(options):
    """As it does when an agent of its has gone, on a busy machine: `ray start` goes on, and nothing answers."""
    said, stop = [], threading.Event()
    with LocalPlatform(options, said.append) as platform:
        watching = threading.Thread(target=platform.watch, args=(stop,))
        watching.start()
        os.kill(named(os.getpid(), b"/raylet/raylet")[0], signal.SIGTERM)
        _until(lambda: "Ray's raylet ended" in said and said.count("Ray") == 2)
        _until(lambda: _answers(platform.serve_url))
        stop.set()
        watching.join(60)
    assert not watching.is_alive()
    assert marked(platform._mark) == []


def test_ray_that_cannot_be_revived_takes_neither_api_nor_scheduler_with_it_and_comes_back(options, monkeypatch):
    said, stop = [], threading.Event()
    with LocalPlatform(options, said.append) as platform:
        watching = threading.Thread(target=platform.watch, args=(stop,))
        watching.start()
        with monkeypatch.context() as broken:
            broken.setattr(RayHead, "command", lambda self: ["false"])
            os.kill(named(os.getpid(), b"/raylet/raylet")[0], signal.SIGKILL)
            _until(lambda: sum("no data plane for now" in text for text in said) >= 2)
            assert _answers(platform.url)
            assert platform._children["scheduler"].exit_status is None
        _until(lambda: _answers(platform.serve_url))
        stop.set()
        watching.join(60)
    assert not watching.is_alive()
    assert marked(platform._mark) == []


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    return False


def _until(condition, within_s: float = 240.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
