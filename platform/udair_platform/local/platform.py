"""Starts, watches and stops a whole platform on this machine; everything it keeps is under `home`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from udair_platform.client.connection import CLIENT_FILE
from udair_platform.errors import PlatformError, SettingsError
from udair_platform.files import write_whole
from udair_platform.local.children import FOLDER, MARK, Child, end_marked
from udair_platform.local.ports import claim_port, free_ports

_RAY_START_S = 90.0
_START_S = 120.0
_RESTARTS = 20


class StartFailed(PlatformError):
    """A part of the platform did not come up; the message holds the end of its log."""

    code, title = "START_FAILED", "The platform did not start"


@dataclass(frozen=True)
class LocalOptions:
    """What `udair up` is told.

    Attributes:
        home: Everything that survives a restart.
        port, serve_port: Of the API and of the data plane on 127.0.0.1; 0 picks free ones.
        store: URI of the platform's own objects; a folder under home if None.
        s3_endpoint_url: S3 endpoint of customers' buckets (and of `store`, if that is S3); AWS if None.
        launcher: ``ray`` or ``local``.
        allow_local_sources: Accept folders of this machine as domains.
    """

    home: Path
    port: int = 8080
    serve_port: int = 8000
    store: str | None = None
    s3_endpoint_url: str | None = None
    launcher: str = "ray"
    allow_local_sources: bool = False


class LocalPlatform:
    """A platform on this machine, as a context manager.

    Args:
        options: Where and how.
        say: Told each stage as it begins.

    Raises:
        SettingsError: Another `udair up` runs on this home, or a port is in use.
        StartFailed: A part did not come up.
    """

    def __init__(self, options: LocalOptions, say: Callable[[str], None] = lambda text: None) -> None:
        self._options, self._say = options, say
        self.home = options.home.expanduser().absolute()
        self._children: dict[str, Child] = {}
        self._mark = hashlib.sha256(str(self.home).encode()).hexdigest()[:10]
        self._ray_files: Path | None = None
        self._lock_file: int | None = None
        self._restarts = 0
        self.url = self.serve_url = self.metrics_url = self.api_key = ""
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> LocalPlatform:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Bring every part up; returns when the API and the data plane answer."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        end_marked(self._mark)  # what a killed platform of this home left behind
        port = claim_port(self._options.port, "--port")
        serve_port = claim_port(self._options.serve_port, "--serve-port")
        self.url, self.serve_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{serve_port}"
        self._environment = self._settings(port)
        with self._timed("database"):
            self.api_key = self._prepare()
        with self._timed("ray"):
            self._start_ray()
        with self._timed("api"):
            self._start("api")
            self._start("scheduler")
            self._await("api", f"{self.url}/readyz")
        with self._timed("serving"):
            self._start("serving")
            self._await("serving", f"{self.serve_url}/healthz")

    def watch(self, stop: threading.Event) -> None:
        """Keep every part alive until `stop` is set.

        Raises:
            StartFailed: A part keeps dying.
        """
        while not stop.wait(0.5):
            for name in list(self._children):
                if self._children[name].exit_status is not None and not stop.is_set():
                    self._revive(name)

    def stop(self) -> None:
        """End every process; nothing under `home` is lost."""
        for name in ("api", "scheduler", "serving", "ray"):
            if name in self._children:
                self._children[name].terminate()
        for child in self._children.values():
            child.wait(4.0)
        self._children.clear()
        end_marked(self._mark)
        if self._ray_files is not None:
            shutil.rmtree(self._ray_files, ignore_errors=True)
            self._ray_files = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _lock(self) -> None:
        self._lock_file = os.open(self.home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_file)
            self._lock_file = None
            raise SettingsError(
                f"A platform already runs on {self.home}. Use it, stop it, or pass another --home."
            ) from None

    def _settings(self, port: int) -> dict[str, str]:
        gcs, dashboard = free_ports(2)
        options = self._options
        environment = {
            **os.environ,
            MARK: self._mark,
            "UDAIR_HOME": str(self.home),
            "UDAIR_API_PORT": str(port),
            "UDAIR_SERVE_URL": self.serve_url,
            "UDAIR_LAUNCHER": options.launcher,
            "UDAIR_JOB_PYTHON": sys.executable,
            "UDAIR_RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "UDAIR_RAY_GCS": f"127.0.0.1:{gcs}",
            # The cluster runs whatever it is told to run: nobody without the token may tell it.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._secret("ray.token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("RAY_ADDRESS", None)
        if options.store:
            environment["UDAIR_STORE_URI"] = options.store
        if options.s3_endpoint_url:
            environment["UDAIR_S3_ENDPOINT_URL"] = options.s3_endpoint_url
            if options.store and options.store.startswith("s3://"):
                environment["UDAIR_STORE_ENDPOINT_URL"] = options.s3_endpoint_url
        if options.allow_local_sources:
            environment["UDAIR_ALLOW_LOCAL_SOURCES"] = "true"
        return environment

    def _secret(self, name: str) -> str:
        path = self.home / name
        if not path.exists():
            write_whole(path, secrets.token_hex(32).encode(), mode=0o600, replace=False)
        return path.read_text().strip()

    def _prepare(self) -> str:
        """Migrate the database and write client.json; returns the admin key."""
        from udair_platform.bootstrap import prepare
        from udair_platform.settings import Settings, load_settings

        self._say("database, signing key and base model")
        prefix = "UDAIR_"
        fields = set(Settings.model_fields)
        chosen = {
            name.removeprefix(prefix).lower(): value
            for name, value in self._environment.items()
            if name.startswith(prefix) and name.removeprefix(prefix).lower() in fields
        }
        database, _, _, made = prepare(load_settings(**chosen))
        database.close()
        data = json.dumps({"url": self.url, "api_key": made.admin_token})
        write_whole(self.home / CLIENT_FILE, data.encode(), mode=0o600)
        return made.admin_token

    def _start_ray(self) -> None:
        """One head node on loopback, tried twice: on a busy small machine its agents can be too slow."""
        for attempt in (1, 2):
            self._say("Ray" if attempt == 1 else "Ray again, with fresh ports")
            if self._ray_files is not None:
                shutil.rmtree(self._ray_files, ignore_errors=True)
            # Not under home: Ray's sockets allow about 60 characters of path.
            self._ray_files = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{self._mark}-"))
            child = self._children["ray"] = Child("ray", self._ray_command(), self._environment, self._log("ray"))
            dashboard = self._environment["UDAIR_RAY_ADDRESS"]
            token = self._environment["RAY_AUTH_TOKEN"]
            if self._answers(child, f"{dashboard}/api/version", _RAY_START_S, token):
                return
            child.terminate()
            child.wait(5.0)
            gcs, fresh = free_ports(2)
            self._environment["UDAIR_RAY_GCS"] = f"127.0.0.1:{gcs}"
            self._environment["UDAIR_RAY_ADDRESS"] = f"http://127.0.0.1:{fresh}"
        raise StartFailed(
            f"Ray did not start in {_RAY_START_S:.0f} s, twice. It needs about 1 GiB of memory and some seconds of "
            f"quiet CPU: close what keeps this machine busy and try again. The end of {child.log}:\n{child.tail()}"
        )

    def _ray_command(self) -> list[str]:
        gcs = self._environment["UDAIR_RAY_GCS"].rpartition(":")[2]
        dashboard = self._environment["UDAIR_RAY_ADDRESS"].rpartition(":")[2]
        agent, client, metrics = free_ports(3)
        self.metrics_url = f"http://127.0.0.1:{metrics}/metrics"
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
            f"--port={gcs}",
            f"--ray-client-server-port={client}",
            "--include-dashboard=true",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={agent}",
            f"--metrics-export-port={metrics}",
            f"--num-cpus={cpus}",
            f"--object-store-memory={256 * 2**20}",
            f"--temp-dir={self._ray_files}",
        ]

    def _start(self, role: str) -> None:
        self._say(role)
        command = [sys.executable, "-m", "udair_platform.bootstrap", role]
        self._children[role] = Child(role, command, self._environment, self._log(role))

    def _await(self, name: str, url: str) -> None:
        child = self._children[name]
        if not self._answers(child, url, _START_S):
            status = child.exit_status
            happened = f"ended with status {status}" if status is not None else f"did not answer in {_START_S:.0f} s"
            raise StartFailed(f"{name} {happened} at {url}. The end of {child.log}:\n{child.tail()}")

    def _answers(self, child: Child, url: str, timeout_s: float, token: str | None = None) -> bool:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310 - our own loopback URL
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and child.exit_status is None:
            with (
                contextlib.suppress(OSError, urllib.error.URLError),
                urllib.request.urlopen(request, timeout=5) as reply,  # noqa: S310
            ):
                if reply.status == 200:
                    return True
            time.sleep(0.2)
        return False

    def _revive(self, name: str) -> None:
        self._restarts += 1
        child = self._children[name]
        if self._restarts > _RESTARTS:
            raise StartFailed(
                f"{name} keeps ending (status {child.exit_status}). The end of {child.log}:\n{child.tail()}"
            )
        self._say(f"{name} ended with status {child.exit_status}; starting it again")
        if name == "ray":
            # A new cluster has new ports: whoever talks to it starts anew, too.
            for other in ("scheduler", "serving"):
                self._children[other].terminate()
                self._children[other].wait(4.0)
            self._start_ray()
            self._start("scheduler")
            self._start("serving")
        else:
            self._start(name)

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


def up(options: LocalOptions) -> int:
    """Run a platform until Ctrl-C or SIGTERM; returns the exit status."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    first = not (options.home / CLIENT_FILE).exists()
    platform = LocalPlatform(options, say=lambda text: print(f"starting {text}", file=sys.stderr, flush=True))
    try:
        with platform:
            print(f"api      {platform.url}")
            print(f"console  {platform.url}/console/")
            print(f"restore  {platform.serve_url}")
            print(f"metrics  {platform.metrics_url}")
            print(f"home     {platform.home}   (CLI: --home {options.home})")
            if first:
                print(f"key      {platform.api_key}   (shown once; the CLI reads it from {CLIENT_FILE})")
            print("Ctrl-C stops the platform; the next start goes on where it was.", flush=True)
            platform.watch(stop)
    except PlatformError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0
