"""A Ray cluster of several nodes on one machine, each a process group of its own, token auth on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node's death is noticed within 3 s instead of 30.
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass
class RayNodes:
    """The head and the nodes that have joined it.

    Attributes:
        address: For RAY_ADDRESS.
        dashboard_url: Where the head's REST API answers.
        environment: What a process needs in its environment to use the cluster.
    """

    address: str
    dashboard_url: str
    log: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(ENVIRONMENT))
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _head_arguments: tuple[str, ...] = ()

    def add(self, ip: str, *, cpus: int) -> subprocess.Popen[bytes]:
        """Let a node with an address of its own, 127.0.0.x, join; returns when it has."""
        before = self._alive()
        node = self.start(f"--address={self.address}", f"--node-ip-address={ip}", f"--num-cpus={cpus}")
        deadline = time.monotonic() + 90
        while self._alive() <= before:
            if node.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"node {ip} did not join: {self.log.read_text()[-4000:]}")
            time.sleep(0.5)
        return node

    def _alive(self) -> int:
        nodes = _get(f"{self.dashboard_url}/api/v0/nodes")
        return sum(node["state"] == "ALIVE" for node in json.loads(nodes)["data"]["result"]["result"])

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                [*command, f"--object-store-memory={128 * 2**20}", *arguments],
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | self.environment,
            )
        self._processes.append(process)
        return process

    def start_head(self, *arguments: str) -> None:
        """Start the head, or start it again as it was; returns when its REST API answers."""
        self._head_arguments = arguments or self._head_arguments
        self.head = self.start(*self._head_arguments)
        deadline = time.monotonic() + 120
        while not _answers(self.dashboard_url):
            if self.head.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Ray's head did not start: {self.log.read_text()[-4000:]}")
            time.sleep(0.5)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Lose a node without a word, as when its machine loses power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill(process)


@contextlib.contextmanager
def ray_nodes(log: Path, *, head_cpus: int) -> Iterator[RayNodes]:
    """A head whose REST API answers; everything that joined it ends with the context."""
    gcs, dashboard, agent, client = free_ports(4)
    folder = tempfile.mkdtemp(prefix="udair-ray-")  # sockets allow about 60 characters of path
    nodes = RayNodes(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", log)
    try:
        nodes.start_head(
            "--head",
            "--node-ip-address=127.0.0.1",
            f"--port={gcs}",
            f"--num-cpus={head_cpus}",
            f"--ray-client-server-port={client}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={agent}",
            f"--temp-dir={folder}",
        )
        yield nodes
    finally:
        nodes.close()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """TCP ports of 127.0.0.1 that nobody listens on right now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _get(url: str) -> bytes:
    """The answer of the REST API at `url`.

    Raises:
        OSError: It does not answer.
    """
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {ENVIRONMENT['RAY_AUTH_TOKEN']}"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return bytes(response.read())


def _answers(url: str) -> bool:
    try:
        _get(f"{url}/api/jobs/")
    except OSError:
        return False
    return True
