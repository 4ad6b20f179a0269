"""Starts, watches and stops a whole platform on this machine; everything it keeps is under `home`."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from udair_platform.client import Client, ClientError
from udair_platform.errors import PlatformError, SettingsError
from udair_platform.local.children import Child, end_marked
from udair_platform.local.options import LocalOptions, environment_of, prepare_home
from udair_platform.local.ports import claim_port
from udair_platform.local.ray import RayHead, too_small
from udair_platform.local.restarts import Restarts

_TRIES = 2
_RAY_START_S, _SERVING_ON_RAY_S = 120.0, 180.0
_START_S = 240.0
_PROGRESS_S = 10.0
_POLL_S = 0.2
_RAY_LOOK_S = 2.0  # it reads the table of processes
_BAD_SETTINGS = 2  # the exit status of a part that would end so every time
_WITHOUT_RAY = "jobs are processes of this machine, and serving is one process (no second replica, no metrics exporter)"


class StartFailed(PlatformError):
    """A part of the platform did not come up; the message holds the end of its log."""

    code, title = "START_FAILED", "The platform did not start"


class _Asked(Exception):
    """To stop, while something is being revived."""


class LocalPlatform:
    """A platform on this machine, as a context manager.

    Args:
        options: Where and how.
        say: Told each stage as it begins, and every few seconds how long it has taken.

    Raises:
        SettingsError: Another `udair up` runs on this home, or a port is in use.
        StartFailed: A part did not come up.
    """

    def __init__(self, options: LocalOptions, say: Callable[[str], None] = lambda text: None) -> None:
        self._options, self._say = options, say
        self.home = options.home.expanduser().absolute()
        self._children: dict[str, Child] = {}
        self._mark = hashlib.sha256(str(self.home).encode()).hexdigest()[:10]
        self._head: RayHead | None = None
        self._ray_seen = 0.0
        self._lock_file: int | None = None
        self._restarts = Restarts()
        self._asked = threading.Event()
        self.starting = False
        self.url = self.serve_url = self.api_key = ""
        self.seconds: dict[str, float] = {}

    @property
    def metrics_url(self) -> str:
        """Of the data plane's Prometheus exporter; empty without Ray, whose it is."""
        return self._head.metrics_url if self._head else ""

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

    def login_link(self) -> str:
        """A link to the console that logs in the admin: once, within minutes. Its address alone if there is no answer."""
        try:
            with Client(self.url, self.api_key) as client:
                return client.login_link().url
        except ClientError:
            return f"{self.url}/console/"

    def start(self) -> None:
        """Bring every part up; returns when the API and the data plane answer."""
        self.starting = True
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        end_marked(self._mark)  # what a killed platform of this home left behind
        port = claim_port(self._options.port, "--port")
        serve_port = claim_port(self._options.serve_port, "--serve-port")
        self.url, self.serve_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{serve_port}"
        self._environment = environment_of(self._options, self.home, self._mark, port, self.serve_url)
        with self._timed("database"):
            self._say("database, signing key and base model")
            self.api_key = prepare_home(self.home, self.url, self._environment)
        with self._timed("api"):
            self._bring_up("api", f"{self.url}/readyz", _START_S)
        self._start_pixels(_TRIES)
        self.starting = False

    def watch(self, stop: threading.Event) -> None:
        """Keep every part alive until `stop` is set."""
        self._asked = stop
        with contextlib.suppress(_Asked):
            while not stop.wait(_POLL_S):
                self._tend()

    def stop(self) -> None:
        """End every process; nothing under `home` is lost."""
        self.starting = False
        for name in ("api", "scheduler", "serving", "ray"):
            if name in self._children:
                self._children[name].terminate()
        for child in self._children.values():
            child.wait(4.0)
        self._children.clear()
        end_marked(self._mark)
        if self._head is not None:
            self._head.end()
            self._head = None
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

    def _start_pixels(self, tries: int) -> None:
        """Serving and what jobs run on: Ray, tried a few times, or else processes without it."""
        wanted, why = self._options.launcher, ""
        if wanted == "auto" and (small := too_small()):
            why = f"This machine is too small for Ray: {small}."
        elif wanted != "local":
            for attempt in range(1, tries + 1):
                try:
                    self._start_on_ray("Ray" if attempt == 1 else "Ray again, with fresh ports")
                    return
                except StartFailed as error:
                    why = str(error)
                    self._end("serving", "scheduler", "ray")
            if wanted == "ray":
                raise StartFailed(f"{why}\n`udair up --launcher local` does without Ray.")
        if why:
            self._say(f"without Ray: {_WITHOUT_RAY}. {why}")
        self._forget_ray()
        with self._timed("serving"):
            self._start("scheduler")
            self._bring_up("serving", f"{self.serve_url}/readyz", _START_S)

    def _start_on_ray(self, title: str) -> None:
        with self._timed("ray"):
            self._start_ray(title)
        with self._timed("serving"):
            self._start("scheduler")  # whoever talks to Ray starts anew with it: it has new ports
            self._bring_up("serving", f"{self.serve_url}/healthz", _SERVING_ON_RAY_S)

    def _start_ray(self, title: str) -> None:
        """One head node on loopback."""
        self._say(title)
        head = self._head = self._head or RayHead(self._mark)
        child = self._children["ray"] = head.begin(self._environment, self._log("ray"))
        self._environment |= {"UDAIR_LAUNCHER": "ray", **head.environment}
        token = self._environment["RAY_AUTH_TOKEN"]
        if not self._comes("ray", lambda: head.alive(token), _RAY_START_S):
            raise self._ray_failed(child, f"did not have a living node after {_RAY_START_S:.0f} s")

    def _ray_failed(self, child: Child, happened: str) -> StartFailed:
        ended = self._head.ended(child) if self._head else ""
        reason = self._head.reason() if self._head else ""
        if ended:
            happened = f"its {ended} ended"
        elif child.exit_status is not None:
            happened = f"ended with status {child.exit_status}"
        return StartFailed(
            f"Ray did not start: {happened}. It needs about 2 GiB of memory and some seconds of quiet CPU: close what "
            f"keeps this machine busy and try again. {reason}\nThe end of {child.log}:\n{child.tail()}"
        )

    def _forget_ray(self) -> None:
        self._environment["UDAIR_LAUNCHER"] = "local"
        for name in ("UDAIR_RAY_ADDRESS", "UDAIR_RAY_GCS"):
            self._environment.pop(name, None)
        if self._head is not None:
            self._head.end()
            self._head = None

    def _start(self, role: str) -> None:
        self._say(role)
        command = [sys.executable, "-m", "udair_platform.bootstrap", role]
        self._children[role] = Child(role, command, self._environment, self._log(role))

    def _end(self, *names: str) -> None:
        children = [self._children.pop(name) for name in names if name in self._children]
        for child in children:
            child.terminate()
        for child in children:
            child.wait(4.0)
            child.kill()

    def _bring_up(self, name: str, url: str, timeout_s: float) -> None:
        """Start a part and wait until it answers; one that ends is tried again."""
        for attempt in range(1, _TRIES + 1):
            self._start(name)
            if self._comes(name, lambda: _answers(url), timeout_s):
                return
            child = self._children[name]
            status = child.exit_status
            if status is None or status == _BAD_SETTINGS or attempt == _TRIES:
                break
            self._say(f"{name} ended with status {status}; again")
        happened = f"ended with status {status}" if status is not None else f"did not answer in {timeout_s:.0f} s"
        raise StartFailed(f"{name} {happened} at {url}. The end of {child.log}:\n{child.tail()}")

    def _comes(self, name: str, there: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `there`; False once the part has ended, or after `timeout_s`. The other parts are looked after.

        Raises:
            StartFailed: Ray has ended, which the part stands on.
        """
        began = said = time.monotonic()
        while (now := time.monotonic()) < began + timeout_s and self._children[name].exit_status is None:
            if there():
                return True
            if self._asked.is_set():
                raise _Asked
            ray = self._children.get("ray")
            if ray and self._head and (ray.exit_status is not None or self._head.ended(ray)):
                raise self._ray_failed(ray, "ended")
            if now - said > _PROGRESS_S:
                said = now
                self._say(
                    f"{name}: not there yet after {now - began:.0f} s of at most {timeout_s:.0f} ({self._log(name)})"
                )
            self._tend(but=(name, "ray", "serving"))
            time.sleep(_POLL_S)
        return False

    def _tend(self, but: tuple[str, ...] = ()) -> None:
        """Start again whatever has ended, when its time has come."""
        if "ray" not in but:
            self._look_at_ray()
        for name, child in list(self._children.items()):
            if name in but or child.exit_status is None or self._children.get(name) is not child:
                continue  # with Ray others were started, too
            pause_s = self._restarts.ended(name)
            if pause_s is not None:
                times = self._restarts.count(name)
                often = f" (the {times}th time lately). The end of its log:\n{child.tail()}\n" if times > 2 else "; "
                self._say(f"{name} ended with status {child.exit_status}{often}it is started again in {pause_s:.0f} s")
            if self._restarts.due(name):
                self._revive(name)

    def _look_at_ray(self) -> None:
        """End what is left of Ray where a part of it has ended that it cannot do without."""
        child, now = self._children.get("ray"), time.monotonic()
        if self._head is None or child is None or child.exit_status is not None or now < self._ray_seen + _RAY_LOOK_S:
            return
        self._ray_seen = now
        if ended := self._head.ended(child):
            self._say(f"Ray's {ended} ended")
            child.kill()

    def _revive(self, name: str) -> None:
        if name != "ray":
            self._start(name)
            return
        dead = self._children[name]
        self._end("serving", "scheduler")
        try:
            self._start_pixels(tries=1)
        except StartFailed as error:
            self._say(f"there is no data plane for now: {error}")
            self._start("scheduler")  # it and the API go on
            self._children[name] = dead  # so that Ray is tried again, later each time

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 2)


def _answers(url: str) -> bool:
    # Whatever else may listen there, and speak another protocol, is no answer.
    with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own loopback URL
        return bool(reply.status == 200)
    return False
