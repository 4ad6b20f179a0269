"""The API and the reconciler as real processes over one home, to be killed and started at will."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from processes import end_attempts

from udair_platform.bootstrap import prepare
from udair_platform.settings import Settings, load_settings
from udair_platform.state.database import Database

FAST_JOB = Path(__file__).with_name("fast_job.py")


class ControlProcesses:
    """`python -m udair_platform.bootstrap ROLE` for each role that is started, with `fast_job.py` as the job.

    Args:
        home: Of the platform; logs go to `home/logs`.
        settings: Settings that differ from the defaults.
    """

    def __init__(self, home: Path, **settings: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        chosen = {"home": home, "api_port": port, "job_python": FAST_JOB, "launcher": "local", **settings}
        self.settings: Settings = load_settings(**{name: str(value) for name, value in chosen.items()})
        self.url = f"http://127.0.0.1:{port}"
        self.database: Database
        self.database, self.store, _, made = prepare(self.settings)
        self.token = made.admin_token
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("UDAIR_")},
            **{f"UDAIR_{name.upper()}": str(value) for name, value in chosen.items()},
            **{name: value for name, value in os.environ.items() if name == "UDAIR_FAST_JOB_S"},
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (home / "logs").mkdir(exist_ok=True)

    def __enter__(self) -> ControlProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._running):
            self.send(name, signal.SIGCONT)
            self.kill(name)
        end_attempts(self.settings.home / "launcher")
        self.database.close()

    def start(self, role: str, name: str = "") -> None:
        """Start a process of `role`, known as `name`."""
        name = name or role
        with (self.settings.home / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "udair_platform.bootstrap", role],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self, name: str) -> None:
        """SIGKILL, whatever it is doing."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Any other signal."""
        self._running[name].send_signal(number)

    def cpu_s(self, name: str) -> float:
        """Processor time that the process has used."""
        fields = Path(f"/proc/{self._running[name].pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def await_ready(self, within_s: float = 60.0) -> None:
        """Return once the API answers.

        Raises:
            TimeoutError: It does not.
        """
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                return
            time.sleep(0.05)
        raise TimeoutError(f"no API at {self.url} within {within_s:g} s; see {self.settings.home}/logs/api.log")
