import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from udair.data.images import decode, encode_png
from udair_platform.client import Client, NotFound
from udair_platform.errors import SettingsError
from udair_platform.local import ports
from udair_platform.local.children import MARK, Child, end_marked, marked
from udair_platform.local.options import LocalOptions
from udair_platform.local.platform import LocalPlatform, StartFailed, _answers
from udair_platform.local.ports import claim_port, free_ports
from udair_platform.local.ray import RayHead
from udair_platform.local.restarts import WINDOW_S, Restarts

NO_RAY = [sys.executable, "-c", "import sys; print('raylet: no room on device'); sys.exit(1)"]


def test_a_port_in_use_is_refused_with_the_option_that_helps():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"Port {port} is in use.*--serve-port"):
            claim_port(port, "--serve-port")
    assert claim_port(port, "--port") == port
    assert len(set(free_ports(5))) == 5


def test_a_port_that_is_free_now_is_none_that_the_system_gives_to_another(monkeypatch, tmp_path):
    first = int(ports._HANDED_OUT.read_text().split()[0])
    assert all(20_000 <= port < first for port in free_ports(50))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_candidates", lambda: [number, number + 1, number + 2])
        assert number not in free_ports(1)
        with pytest.raises(SettingsError, match="of 3 ports are free"):
            free_ports(3)
    monkeypatch.undo()
    monkeypatch.setattr(ports, "_HANDED_OUT", tmp_path / "none")  # another system, or a range without room below it
    assert len(set(free_ports(5))) == 5


def test_what_speaks_another_protocol_on_a_port_is_no_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\n")

        speaker = threading.Thread(target=speak)
        speaker.start()
        assert not _answers(f"http://127.0.0.1:{server.getsockname()[1]}/healthz")
        speaker.join()


def test_nobody_else_enters_the_folder_that_ray_opens_to_everybody(tmp_path, monkeypatch):
    from ray._common.utils import try_to_create_directory

    opened = []

    def started(name, command, *_):
        opened.append(next(word.partition("=")[2] for word in command if word.startswith("--temp-dir=")))
        try_to_create_directory(opened[0])  # as `ray start` does first

    monkeypatch.setattr("udair_platform.local.ray.Child", started)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    head = RayHead("mark")
    head.begin({}, tmp_path / "log")
    folders = [Path(opened[0]), *Path(opened[0]).parents]
    ours = [folder for folder in folders if folder.is_relative_to(tmp_path) and folder != tmp_path]
    assert ours[-1].stat().st_mode & 0o077 == 0
    head.end()
    assert not ours[-1].exists()


def test_grandchildren_that_detached_are_ended_too(tmp_path):
    mark = f"test-{os.getpid()}"
    program = (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
        "time.sleep(600)"
    )
    child = Child("parent", [sys.executable, "-c", program], os.environ | {MARK: mark}, tmp_path / "log")
    deadline = time.monotonic() + 20
    while len(marked(mark)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(marked(mark)) == 2
    child.terminate()
    assert child.wait(10)
    assert end_marked(mark) == 1
    assert marked(mark) == []


def test_a_child_ends_with_its_supervisor_even_when_that_is_killed(tmp_path):
    program = (
        "import os, sys, time; from pathlib import Path;"
        "from udair_platform.local.children import Child;"
        f"Child('c', [sys.executable, '-c', 'import time; time.sleep(600)'], os.environ, Path({str(tmp_path / 'l')!r}));"
        "print('up', flush=True); time.sleep(600)"
    )
    mark = f"orphan-{os.getpid()}"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ | {MARK: mark}
    )
    assert supervisor.stdout.readline() == b"up\n"
    supervisor.kill()
    supervisor.wait()
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked(mark) == []


def test_two_platforms_on_one_home_are_refused(tmp_path):
    first = LocalPlatform(LocalOptions(tmp_path))
    first._lock()
    try:
        with pytest.raises(SettingsError, match="already runs"):
            LocalPlatform(LocalOptions(tmp_path)).start()
    finally:
        first.stop()


def test_the_end_of_a_log_is_that_of_this_start(tmp_path):
    log = tmp_path / "log"
    log.write_text("an earlier fault\n")
    child = Child("c", [sys.executable, "-c", "print('this fault')"], os.environ, log)
    assert child.wait(20)
    assert child.tail() == "this fault"
    assert log.read_text() == "an earlier fault\nthis fault\n"


def test_a_child_of_a_child_that_has_ended_is_seen(tmp_path):
    program = "import subprocess, time; kept = subprocess.Popen(['sleep', '0']); time.sleep(600)"
    child = Child("c", [sys.executable, "-c", program], os.environ, tmp_path / "log")
    deadline = time.monotonic() + 20
    while child.below() != {"sleep": False} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert child.below() == {"sleep": False}
    child.kill()
    assert child.exit_status is not None


def test_what_ends_often_is_started_later_and_what_ended_long_ago_is_forgotten():
    now = [0.0]
    restarts = Restarts(lambda: now[0])
    pauses = []
    for _ in range(9):
        pauses.append(restarts.ended("api"))
        assert restarts.ended("api") is None, "the same end is no news"
        assert restarts.due("api") is (pauses[-1] == 0)
        now[0] += pauses[-1]
        assert restarts.due("api") is (pauses[-1] > 0)
    assert pauses == [0, 2, 4, 8, 16, 32, 60, 60, 60]
    assert restarts.count("api") == 9
    assert restarts.ended("serving") == 0, "each part for itself"
    now[0] += WINDOW_S + 1
    assert restarts.ended("api") == 0


def test_ray_that_does_not_start_is_said_with_the_end_of_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(RayHead, "command", lambda self: NO_RAY)
    said = []
    platform = LocalPlatform(LocalOptions(tmp_path, port=0, serve_port=0, launcher="ray"), said.append)
    with (
        pytest.raises(StartFailed, match=r"ended with status 1(?s:.*)no room on device(?s:.*)--launcher local"),
        platform,
    ):
        pass
    assert [text for text in said if text.startswith("Ray")] == ["Ray", "Ray again, with fresh ports"]
    assert marked(platform._mark) == []


def test_where_ray_does_not_start_the_platform_does_without_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(RayHead, "command", lambda self: NO_RAY)
    monkeypatch.setenv("UDAIR_BASE_URI", "packaged:tiny")
    said = []
    with LocalPlatform(LocalOptions(tmp_path, port=0, serve_port=0), said.append) as platform:
        assert any("without Ray" in text and "no room on device" in text for text in said)
        assert platform.metrics_url == ""
        assert platform._environment["UDAIR_LAUNCHER"] == "local"
        with Client(platform.url, platform.api_key) as client:
            client.domains.create("alone-cams", "s3://acme-photos/cams")
            assert _restored(client, "alone-cams").shape == (40, 32, 3)
        link = platform.login_link()
        assert httpx.get(link).status_code == 200, "it logs a browser in"
        assert httpx.get(link).status_code == 401, "once"
        assert httpx.get(platform.url).headers["location"] == "/console/"
        # Whatever of it ends comes back, and the others do not notice.
        serving = platform._children["serving"]
        stop = threading.Event()
        watching = threading.Thread(target=platform.watch, args=(stop,))
        watching.start()
        os.kill(serving._process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while (platform._children["serving"] is serving or not _ready(platform)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert _ready(platform)
        stop.set()
        watching.join(30)
    assert not watching.is_alive()
    assert marked(platform._mark) == []


def test_a_machine_without_the_memory_is_not_asked_to_run_ray(tmp_path, monkeypatch):
    monkeypatch.setattr("udair_platform.local.ray._available_bytes", lambda: 2**29)
    monkeypatch.setenv("UDAIR_BASE_URI", "packaged:tiny")
    said = []
    with LocalPlatform(LocalOptions(tmp_path, port=0, serve_port=0), said.append) as platform:
        assert _ready(platform)
    assert "Ray" not in said
    assert any("too small for Ray: 512 MiB" in text for text in said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_ends_it(tmp_path, number):
    command = [sys.executable, "-m", "udair_platform.cli", "up", "--home", str(tmp_path), "--port", "0"]
    up = subprocess.Popen([*command, "--serve-port", "0"], stderr=subprocess.PIPE, text=True)
    assert up.stderr.readline().startswith("starting database")
    up.send_signal(number)
    _, rest = up.communicate(timeout=60)
    assert up.returncode == 130, rest
    assert "no process is left behind" in rest
    assert "starting Ray" not in rest
    mark = LocalPlatform(LocalOptions(tmp_path))._mark
    assert marked(mark) == []


def _ready(platform) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{platform.serve_url}/readyz", timeout=5).status_code == 200
    return False


def _restored(client, domain: str) -> np.ndarray:
    deadline = time.monotonic() + 30
    while True:
        try:
            return decode(client.restore(encode_png(np.full((40, 32, 3), 99, np.uint8)), domain).image)
        except NotFound:  # the routes are polled
            assert time.monotonic() < deadline
            time.sleep(0.3)
