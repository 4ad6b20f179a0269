"""What pods printed. A kubelet that does not answer is left alone for a while, the longer the more often it did not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from udair_platform.errors import LauncherDown
from udair_platform.kubernetes.answers import Object
from udair_platform.kubernetes.api import KubeApi
from udair_platform.telemetry import logger

_READ_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
_log = logger("launcher.kuberay.logs")


class PodLogs:
    """Logs by pod, through the API server, which asks the kubelets.

    Args:
        read_s: A kubelet that says nothing for so long does not answer.
    """

    def __init__(self, api: KubeApi, *, read_s: float = _READ_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._read_s, self._clock = api, read_s, clock
        self._paused: dict[str, tuple[float, float]] = {}  # until when, and for how long, by the pod's uid
        self._lock = threading.Lock()

    def of(self, pods: Sequence[Object], *, max_bytes: int) -> list[tuple[str, str]]:
        """Name and log of each pod that has printed something: of all of them, or of none.

        Raises:
            LauncherDown: One of them does not answer, or did not a moment ago: half a log would replace a whole one.
        """
        for pod in pods:
            if self._until(pod) > self._clock():
                raise LauncherDown(f"The kubelet of {_name(pod)} did not answer; its log is asked for again later.")
        found = [(_name(pod), self._one(pod, max_bytes)) for pod in pods]
        return [(name, log) for name, log in found if log]

    def _one(self, pod: Object, max_bytes: int) -> str:
        meta, container = pod["metadata"], pod["spec"]["containers"][0]["name"]
        try:
            log = self._api.log(meta["namespace"], meta["name"], container, max_bytes=max_bytes, read_s=self._read_s)
        except LauncherDown as error:
            self._pause(pod, error)
            raise
        with self._lock:
            self._paused.pop(meta["uid"], None)
        return log

    def _until(self, pod: Object) -> float:
        with self._lock:
            return self._paused.get(pod["metadata"]["uid"], (0.0, 0.0))[0]

    def _pause(self, pod: Object, error: LauncherDown) -> None:
        uid, now = pod["metadata"]["uid"], self._clock()
        with self._lock:
            before = self._paused.get(uid, (0.0, 0.0))[1]
            pause_s = min(2 * before or _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
            # Pods that nobody has asked about for long are gone.
            self._paused = {one: at for one, at in self._paused.items() if at[0] + _LONGEST_PAUSE_S > now}
            self._paused[uid] = now + pause_s, pause_s
        node = (pod.get("spec") or {}).get("nodeName", "")
        _log.warning("no log", pod=_name(pod), node=node, again_in_s=pause_s, detail=error.detail)


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
