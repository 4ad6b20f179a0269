import os
import socket
import subprocess
import sys
import time

import pytest

from udair_platform.errors import SettingsError
from udair_platform.local.children import MARK, Child, end_marked, marked
from udair_platform.local.platform import LocalOptions, LocalPlatform
from udair_platform.local.ports import claim_port, free_ports


def test_a_port_in_use_is_refused_with_the_option_that_helps():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"Port {port} is in use.*--serve-port"):
            claim_port(port, "--serve-port")
    assert claim_port(port, "--port") == port
    assert len(set(free_ports(5))) == 5


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


def test_ray_that_does_not_start_is_said_with_the_end_of_its_log(tmp_path, monkeypatch):
    from udair_platform.local import platform as module

    monkeypatch.setattr(module, "_RAY_START_S", 5.0)
    platform = LocalPlatform(LocalOptions(tmp_path, port=0, serve_port=0))
    command = [sys.executable, "-c", "import sys; print('raylet: no room on device'); sys.exit(1)"]
    monkeypatch.setattr(platform, "_ray_command", lambda: command)
    with pytest.raises(module.StartFailed, match=r"twice(?s:.)*no room on device"), platform:
        pass
    assert marked(platform._mark) == []
