"""The Ray head of a platform on one machine: how it is started, whether it lives, and why it did not.

On a busy machine a raylet gives its agents 15 s to write down which ports they took, and dies if they have not, while
the dashboard, which is up by then, goes on answering. So the ports are given beforehand and written down by us, and
whether Ray is there is asked of its control store: its node is ALIVE.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

from udair_platform.files import write_whole
from udair_platform.local.children import FOLDER, Child, end_carrying
from udair_platform.local.ports import free_ports

OBJECT_STORE_BYTES = 256 * 2**20
# What a head, its agents, Serve and one backbone hold (1.9 GiB); below that the machine is better off without.
NEEDED_BYTES = 2 * 2**30
# The files in which Ray's agents write their ports, and the options that choose them.
_PORT_FILES = {
    "metrics_agent_port": "--dashboard-agent-grpc-port",
    "dashboard_agent_listen_port": "--dashboard-agent-listen-port",
    "metrics_export_port": "--metrics-export-port",
    "runtime_env_agent_port": "--runtime-env-agent-port",
}
_FATAL = re.compile(r" [CF] \d+ \d+\] .*?\) (.*)")
_NODE_ID = "RAY_OVERRIDE_NODE_ID_FOR_TESTING"
_VITAL = ("raylet", "gcs_server")


class RayHead:
    """One head node; `begin` starts it, again each time with fresh ports and files.

    Args:
        mark: Of the platform, in the name of Ray's folder.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._files: Path | None = None
        self._node_id, self._ports = "", dict.fromkeys(_PORT_FILES, 0)
        self._gcs = self._client = self._dashboard = 0
        self._begun: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """Where the others find it."""
        return {
            "UDAIR_RAY_ADDRESS": f"http://127.0.0.1:{self._dashboard}",
            "UDAIR_RAY_GCS": f"127.0.0.1:{self._gcs}",
        }

    @property
    def metrics_url(self) -> str:
        """Of Ray's Prometheus exporter."""
        return f"http://127.0.0.1:{self._ports['metrics_export_port']}/metrics"

    def begin(self, environment: dict[str, str], log: Path) -> Child:
        """Start it; returns at once."""
        self.end()
        # Not under home: Ray's sockets allow about 60 characters of path. Ours alone (0700); what Ray is given
        # is a folder in it, because that becomes everybody's (0777).
        self._files = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{self._mark}-"))
        self._node_id, self._begun = secrets.token_hex(28), set()
        self._gcs, self._client, self._dashboard, *rest = free_ports(3 + len(_PORT_FILES))
        self._ports = dict(zip(_PORT_FILES, rest, strict=True))
        more = {_NODE_ID: self._node_id, "RAY_agent_register_timeout_ms": "180000"}
        return Child("ray", self.command(), environment | more, log)

    def command(self) -> list[str]:
        """The arguments of the process."""
        # More logical CPUs than cores: serving keeps its share while jobs run.
        cpus = max(4, os.cpu_count() or 1)
        return [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
            f"--port={self._gcs}",
            f"--ray-client-server-port={self._client}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={self._dashboard}",
            *(f"{option}={self._ports[name]}" for name, option in _PORT_FILES.items()),
            f"--num-cpus={cpus}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={self._files}/r",
        ]

    def alive(self, token: str) -> bool:
        """Whether the control store says that the node is ALIVE."""
        self._write_ports()
        request = urllib.request.Request(  # noqa: S310 - our own loopback URL
            f"{self.environment['UDAIR_RAY_ADDRESS']}/api/v0/nodes", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:  # noqa: S310
                nodes = json.load(reply)["data"]["result"]["result"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return any(node["node_id"] == self._node_id and node["state"] == "ALIVE" for node in nodes)

    def ended(self, child: Child) -> str:
        """What of it has begun and ended, although `ray start` goes on; empty if nothing has.

        `ray start` takes a raylet that ends with 0 for one that was asked to, also when it does so because an agent of it ended.
        """
        below = child.below()
        self._begun.update(name for name in _VITAL if name in below)
        return next((name for name in _VITAL if name in self._begun and not below.get(name)), "")

    def reason(self) -> str:
        """What its processes wrote last before they died; empty if they wrote nothing of the kind."""
        for name in _VITAL:
            with contextlib.suppress(OSError):
                found = _FATAL.findall((self._session / "logs" / f"{name}.out").read_text(errors="replace"))
                if found:
                    return f"{name}: {found[0].rpartition('Check failed: ')[2].strip()}"
        return ""

    def end(self) -> None:
        """End every process of it, those that detached too, and delete its folder."""
        if self._files is not None:
            end_carrying(f"{_NODE_ID}={self._node_id}", f"{self._files}/")
            shutil.rmtree(self._files, ignore_errors=True)
            self._files = None

    @property
    def _session(self) -> Path:
        return Path(f"{self._files}/r/session_latest")

    def _write_ports(self) -> None:
        for name, port in self._ports.items():
            with contextlib.suppress(OSError):  # there is no session yet
                write_whole(self._session / f"{name}_{self._node_id}", str(port).encode(), replace=False)


def too_small() -> str:
    """Why this machine has no room for Ray; empty if it has."""
    free = min(_available_bytes(), _left_in_group_bytes())
    if free >= NEEDED_BYTES:
        return ""
    return f"{free / 2**20:.0f} MiB of memory are free, and Ray with serving needs {NEEDED_BYTES / 2**20:.0f}"


def _available_bytes() -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024.0
    return float("inf")


def _left_in_group_bytes() -> float:
    """Of a container's memory, by its control group (version 2)."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        return int((group / "memory.max").read_text()) - float((group / "memory.current").read_text())
    return float("inf")
