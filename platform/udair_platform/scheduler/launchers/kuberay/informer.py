"""A copy of the cluster's objects of one kind that carry our labels: listed once, then watched, in one thread.

The copy says whether it can be trusted (`fresh`): whoever reads it asks the server otherwise. A watch
ends every minute and goes on from where it was, bookmarks keep that place recent, a place that the
server has forgotten (410) leads to a new list, and so does a quarter of an hour, in case anything was missed.

Not `kubernetes.informer.SharedInformer` (37.0.1): it waits neither after a watch that fails nor after 410, so that a
server that is away for a minute is asked thousands of times a second; it asks for no bookmarks, no pages and no
end of a watch, so that a connection that has died quietly is never noticed; it does not say when it last heard of
the server; and its `stop` joins without a limit.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from udair_platform.errors import LauncherDown
from udair_platform.kubernetes.answers import Changes, Expired, Object
from udair_platform.kubernetes.api import KubeApi, Resource
from udair_platform.telemetry import logger

_log = logger("launcher.kuberay.informer")
_GONE = "DELETED"


@dataclass(frozen=True)
class Pace:
    """How long a watch is, how old a copy may become, and how long to wait after trouble: seconds."""

    watch_s: int = 60
    resync_s: float = 900.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0


class Informer:
    """Objects of `resource` by namespace and name.

    Args:
        namespace: Only there; None is all namespaces.
        labels: Selector of ours.
        on_change: Called in the informer's thread with each object that it sees, new or not.
    """

    def __init__(
        self,
        api: KubeApi,
        resource: Resource,
        namespace: str | None,
        labels: str,
        *,
        on_change: Callable[[Object], None] = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        self._api, self._resource, self._namespace, self._labels = api, resource, namespace, labels
        self._on_change, self._pace = on_change, pace or Pace()
        self._objects: dict[tuple[str, str], Object] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._changes: Changes | None = None
        self._contact: float | None = None
        self._thread: threading.Thread | None = None
        self.lists = 0

    @property
    def fresh(self) -> bool:
        """Whether the copy follows the server, as far as one can know."""
        contact = self._contact
        return contact is not None and time.monotonic() - contact < 2 * self._pace.watch_s

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name=f"informer-{self._resource.plural}", daemon=True)
                self._thread.start()

    def close(self, timeout_s: float = 10.0) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        thread, ends = self._thread, time.monotonic() + timeout_s
        while thread is not None and thread.is_alive() and time.monotonic() < ends:
            # Again and again: the watch may be about to open.
            if (changes := self._changes) is not None:
                changes.close()
            thread.join(0.05)
        self._contact = None

    def all_with(self, label: str, value: str) -> list[Object]:
        """The copy's objects with that label."""
        with self._lock:
            every = list(self._objects.values())
        return [one for one in every if (one["metadata"].get("labels") or {}).get(label) == value]

    def _run(self) -> None:
        wait_s = self._pace.first_wait_s
        while not self._stop.is_set():
            try:
                version = self._list()
                wait_s = self._pace.first_wait_s
                self._follow(version)
                continue
            except Expired:
                _log.info("watch expired; listing anew", resource=self._resource.plural)
                self._stop.wait(random.uniform(0, self._pace.first_wait_s))
                continue
            except LauncherDown as error:
                say = _log.warning if wait_s == self._pace.first_wait_s else _log.debug
                say("watch interrupted", resource=self._resource.plural, detail=error.detail)
            except Exception:  # a thread that ended would leave a copy that looks fresh and is not
                _log.exception("watch failed; starting anew", resource=self._resource.plural)
            self._contact = None
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, self._pace.longest_wait_s)

    def _list(self) -> str:
        found, version = self._api.find(self._resource, self._namespace, labels=self._labels)
        with self._lock:
            self._objects = {_key(one): one for one in found}
        self.lists += 1
        self._contact = time.monotonic()
        for one in found:
            self._on_change(one)
        return version

    def _follow(self, version: str) -> None:
        ends = time.monotonic() + self._pace.resync_s
        while not self._stop.is_set() and time.monotonic() < ends:
            self._changes = self._api.watch(
                self._resource, self._namespace, labels=self._labels, version=version, seconds=self._pace.watch_s
            )
            for kind, one in self._changes:
                version = one["metadata"]["resourceVersion"]
                self._contact = time.monotonic()
                if kind != "BOOKMARK":
                    self._note(kind, one)
            if not self._stop.is_set():
                self._contact = time.monotonic()

    def _note(self, kind: str, one: Object) -> None:
        with self._lock:
            if kind == _GONE:
                self._objects.pop(_key(one), None)
            else:
                self._objects[_key(one)] = one
        self._on_change(one)


def _key(one: Object) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]
