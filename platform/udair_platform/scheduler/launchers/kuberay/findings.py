"""What a RayJob and its pods say about an attempt: how it is, and why it ended or cannot start.

Pure functions of objects as the API server gives them, and `Findings`, which remembers the last thing
that went wrong with an attempt's pods: by the time somebody asks, they may be gone with their node.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from udair_jobs.specs import Reason
from udair_platform.kubernetes.answers import Object
from udair_platform.scheduler.launcher import Cause, LaunchState
from udair_platform.scheduler.launchers.kuberay.rayjob import ATTEMPT, SPOT

_ENDED = {
    "SUCCEEDED": LaunchState.SUCCEEDED,
    "FAILED": LaunchState.FAILED,
    "STOPPED": LaunchState.STOPPED,
}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
# Of a pod's condition DisruptionTarget: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
_TAKEN = {"PreemptionByScheduler", "EvictionByEvictionAPI"}
_NODE_GONE = {"DeletionByTaintManager", "DeletionByPodGC"}
_SHUTDOWN = {"Terminated", "Shutdown", "NodeShutdown", "Preempting", "NodeAffinity"}
_REMEMBERED = 2048


def state_of(rayjob: Object) -> LaunchState:
    """How the attempt is. One that is being deleted is what it was until it is gone."""
    status = rayjob.get("status") or {}
    job, deployment = status.get("jobStatus") or "", status.get("jobDeploymentStatus") or ""
    if job in _ENDED:
        return _ENDED[job]
    if deployment in ("Failed", "ValidationFailed"):
        return LaunchState.FAILED
    if deployment == "Complete":
        return LaunchState.STOPPED
    if deployment in ("Suspending", "Suspended"):
        return LaunchState.SUSPENDED
    return LaunchState.RUNNING if job == "RUNNING" else LaunchState.PENDING


def cause_of(rayjob: Object, found: PodFinding | None, events: Iterable[Object]) -> Cause | None:
    """Why the attempt failed, or does not start; None if nothing says so.

    Args:
        found: What was last wrong with its pods.
        events: Of the RayJob and its cluster.
    """
    status = rayjob.get("status") or {}
    message = _one_line(status.get("message") or "")
    reason = status.get("reason") or ""
    if reason == "ValidationFailed":
        return Cause("CONTROLLER_ERROR", f"KubeRay does not accept the RayJob: {message}")
    if reason == "DeadlineExceeded":
        return Cause("RUN_TIMEOUT", f"KubeRay ended it after activeDeadlineSeconds. {message}".strip())
    if found is not None:
        return found.cause
    if quota := next((message for message in map(_text, events) if "exceeded quota" in message), None):
        return Cause("QUOTA_EXCEEDED", f"the namespace's quota is used up: {quota}")
    if reason == "PreRunningDeadlineExceeded":
        return Cause("NO_CAPACITY", f"its Ray cluster was not up in time, and no pod says why. {message}".strip())
    if reason == "SubmissionFailed":
        return Cause("CONTROLLER_ERROR", f"KubeRay could not submit it: {message}")
    if reason in ("JobStatusCheckTimeoutExceeded", "JobDeploymentStatusTransitionGracePeriodExceeded"):
        return Cause("NODE_LOST", f"its Ray head does not answer ({reason}). {message}".strip())
    if reason == "AppFailed":
        # Ray's memory monitor ends processes before the kernel does, so that no container is OOMKilled.
        lack = "running low on memory" in message or "OutOfMemory" in message
        return Cause("OOM" if lack else "NODE_LOST", f"it ended without a result: {message or 'no message'}")
    if state_of(rayjob) is LaunchState.SUSPENDED:
        return Cause("NO_CAPACITY", "the cluster's queue (Kueue) holds it until there is room")
    return None


@dataclass(frozen=True)
class PodFinding:
    """What is wrong with a pod.

    Attributes:
        waiting: The pod waits for it to change, and may yet be well.
        standing: It waits for what only people can change.
    """

    cause: Cause
    waiting: bool = False
    standing: bool = False

    @property
    def weight(self) -> int:
        """What ended a pod explains more than what people must change, and that more than what may pass."""
        return 2 - self.waiting - (self.waiting and not self.standing)


def finding_in(pod: Object) -> PodFinding | None:
    """The worst thing that the pod's status says, or None."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    for container, ended in _terminated(status):
        if ended.get("reason") == "OOMKilled":
            limit = _limit(pod, container)
            return _found("OOM", f"{name}: container {container} used more memory than its limit{limit}")
    target = _condition(status, "DisruptionTarget")
    if target is not None and target.get("status") == "True":
        why, message = target.get("reason") or "", _one_line(target.get("message") or "")
        if why in _TAKEN:
            return _found("PREEMPTED", f"{name}: {why}. {message}".strip())
        if why in _NODE_GONE:
            return _found("PREEMPTED" if _on_spot(pod) else "NODE_LOST", f"{name}: its node is gone ({why}). {message}")
    reason, message = status.get("reason") or "", _one_line(status.get("message") or "")
    if reason == "Evicted":
        # Whoever fills the disk or the memory of a node would do so on the next one: that spends an attempt.
        return _found(
            "OOM" if "memory" in message else "NODE_LOST", f"{name}: evicted from its node. {message}".strip()
        )
    if reason.startswith("OutOf") or reason == "UnexpectedAdmissionError":
        return _found("NO_CAPACITY", f"{name}: its node had no room after all ({reason}). {message}".strip())
    if reason in _SHUTDOWN:
        return _found("PREEMPTED", f"{name}: its node was shut down or wanted by others ({reason}). {message}".strip())
    if reason == "NodeLost":
        return _found("PREEMPTED" if _on_spot(pod) else "NODE_LOST", f"{name}: its node does not answer. {message}")
    for container, waiting in _waiting(status):
        why, message = waiting.get("reason") or "", _one_line(waiting.get("message") or "")
        if why in _IMAGE:
            image = _image(pod, container)
            return _found(
                "IMAGE_UNAVAILABLE", f"{name}: image {image} cannot be pulled ({why}). {message}", standing=True
            )
        if why in _CONFIG:
            return _found("CONTROLLER_ERROR", f"{name}: container {container}: {why}. {message}", standing=True)
    scheduled = _condition(status, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        message = _one_line(scheduled.get("message") or "")
        return PodFinding(Cause("NO_CAPACITY", f"{name}: no node can take it. {message}".strip()), waiting=True)
    return None


class Findings:
    """The last of the weightiest findings of each attempt, by its label, and since when it stands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of: OrderedDict[str, tuple[PodFinding, str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, pod: Object) -> None:
        """Look at a pod of ours. One that is well again takes its own finding back."""
        attempt = (pod["metadata"].get("labels") or {}).get(ATTEMPT)
        if attempt is None:
            return
        found, name = finding_in(pod), pod["metadata"]["name"]
        with self._lock:
            before = self._of.get(attempt)
            if found is None:
                if before is not None and before[0].waiting and before[1] == name:
                    del self._of[attempt]
                return
            if before is not None and before[1] != name and found.weight < before[0].weight:
                return
            same = before is not None and before[0].cause.reason == found.cause.reason
            self._of[attempt] = (found, name, before[2] if same and before is not None else self._clock())
            self._of.move_to_end(attempt)
            while len(self._of) > _REMEMBERED:
                self._of.popitem(last=False)

    def of(self, attempt: str) -> PodFinding | None:
        """What was last wrong, if anything."""
        with self._lock:
            known = self._of.get(attempt)
        return known[0] if known else None

    def hopeless(self, attempt: str, after_s: float) -> bool:
        """Whether something that only people can mend has stood for so long."""
        with self._lock:
            known = self._of.get(attempt)
        return known is not None and known[0].standing and self._clock() - known[2] >= after_s


def _found(reason: Reason, detail: str, *, standing: bool = False) -> PodFinding:
    return PodFinding(Cause(reason, detail.strip()), waiting=standing, standing=standing)


def _containers(status: Object) -> Iterator[Object]:
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def _terminated(status: Object) -> Iterator[tuple[str, Object]]:
    for container in _containers(status):
        for state in (container.get("state") or {}, container.get("lastState") or {}):
            if ended := state.get("terminated"):
                yield container["name"], ended


def _waiting(status: Object) -> Iterator[tuple[str, Object]]:
    for container in _containers(status):
        if waiting := (container.get("state") or {}).get("waiting"):
            yield container["name"], waiting


def _condition(status: Object, kind: str) -> Object | None:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), None)


def _on_spot(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get(SPOT) == "true"


def _container(pod: Object, name: str) -> Object:
    spec = pod.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return next((one for one in every if one.get("name") == name), {})


def _image(pod: Object, container: str) -> Any:
    return _container(pod, container).get("image", "of " + container)


def _limit(pod: Object, container: str) -> str:
    limit = ((_container(pod, container).get("resources") or {}).get("limits") or {}).get("memory")
    return f", {limit}" if limit else ""


def _text(event: Object) -> str:
    return _one_line(event.get("message") or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
