"""One attempt and what the KubeRay launcher says of it, for tests of the launcher."""

from __future__ import annotations

from kubernetes_cluster import wait_for

from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.kuberay.launcher import KubeRayLauncher

REQUEST = LaunchRequest("j-5f0c1e2ab94d-1", "s3://store/t/acme/spec.json", "http://s3.internal:9000", "acme")
ID = REQUEST.submission_id


def reach(launcher: KubeRayLauncher, *states: LaunchState, within_s: float = 20) -> None:
    """Wait until the attempt is in one of `states`."""
    assert wait_for(lambda: launcher.status(ID) in states, within_s), launcher.status(ID)


def reason(launcher: KubeRayLauncher) -> str | None:
    """Why it ended or does not start, as the closed list calls it."""
    cause = launcher.cause(ID)
    return cause.reason if cause else None
