"""Why attempts end, from RayJobs, pods and events: on the double or on a real cluster without an operator."""

from __future__ import annotations

import pytest
from kubernetes_attempt import ID, REQUEST, reach, reason
from kubernetes_cluster import wait_for
from kubernetes_operator import WOUNDS

from udair_platform.scheduler.launcher import LaunchState
from udair_platform.scheduler.launchers.kuberay.findings import Findings, finding_in
from udair_platform.scheduler.launchers.kuberay.rayjob import ATTEMPT

pytestmark = pytest.mark.k8s


@pytest.mark.parametrize(
    ("wound", "role", "expected"),
    [
        ("oom killed", "worker", "OOM"),
        ("evicted, memory", "worker", "OOM"),
        ("evicted, disk", "head", "NODE_LOST"),
        ("preempted by the scheduler", "worker", "PREEMPTED"),
        ("drained", "worker", "PREEMPTED"),
        ("node shut down", "worker", "PREEMPTED"),
        ("node without room", "worker", "NO_CAPACITY"),
        ("node gone", "head", "NODE_LOST"),
        ("node gone", "worker", "PREEMPTED"),
        ("node unreachable", "worker", "PREEMPTED"),
    ],
)
def test_what_happened_to_a_pod_is_known_when_the_pod_is_gone(
    make_launcher, operator, namespace, wound, role, expected
) -> None:
    launcher = make_launcher(namespace, kube={"workers_on_spot": True})
    launcher.launch(REQUEST)
    operator.start(ID)
    operator.run(ID)
    reach(launcher, LaunchState.RUNNING)
    assert wait_for(lambda: launcher._pods.fresh)
    (pod,) = operator.pods(ID, role)

    operator.hurt(pod, wound)
    operator.lose(pod)
    operator.end(ID, "FAILED", "AppFailed", "Job supervisor actor died.")

    reach(launcher, LaunchState.FAILED)
    assert wait_for(lambda: reason(launcher) == expected), launcher.cause(ID)
    assert pod in launcher.cause(ID).detail


def test_end_that_is_known_before_its_pods_are_is_explained_by_the_pods(launcher, operator, monkeypatch) -> None:
    """The two kinds are watched apart: a job's end was read as a lost node, and its lack of memory came too late."""
    launcher.launch(REQUEST)
    operator.start(ID)
    operator.run(ID)
    reach(launcher, LaunchState.RUNNING)
    assert wait_for(lambda: launcher._pods.fresh)
    monkeypatch.setattr(launcher._pods, "_note", lambda *_: None)

    operator.hurt(operator.pods(ID, "worker")[0], "oom killed")
    operator.end(ID, "FAILED", "AppFailed", "Job supervisor actor died.")

    reach(launcher, LaunchState.FAILED)
    assert reason(launcher) == "OOM"


@pytest.mark.parametrize(
    ("wound", "expected"),
    [
        ("unschedulable", "NO_CAPACITY"),
        ("image back-off", "IMAGE_UNAVAILABLE"),
        ("secret missing", "CONTROLLER_ERROR"),
    ],
)
def test_cluster_that_was_not_up_in_time_says_what_it_waited_for(launcher, operator, wound, expected) -> None:
    launcher.launch(REQUEST)
    operator.start(ID)
    operator.hurt(operator.pods(ID, "worker")[0], wound)
    operator.end(ID, "", "PreRunningDeadlineExceeded", "The RayJob has passed the preRunningDeadlineSeconds.")

    reach(launcher, LaunchState.FAILED)
    assert wait_for(lambda: reason(launcher) == expected), launcher.cause(ID)


def test_image_that_cannot_be_pulled_is_not_waited_for_to_the_deadline(make_launcher, operator, namespace) -> None:
    launcher = make_launcher(namespace, patience_s=0.5)
    launcher.launch(REQUEST)
    operator.start(ID)
    head = operator.pods(ID, "head")[0]
    reach(launcher, LaunchState.PENDING)
    operator.hurt(head, "image not found")
    operator.hurt(head, "image back-off")

    reach(launcher, LaunchState.FAILED)
    assert "example.org/udair-jobs:1 cannot be pulled" in launcher.cause(ID).detail


def test_pod_that_found_its_node_after_all_leaves_no_trace(launcher, operator) -> None:
    launcher.launch(REQUEST)
    operator.start(ID)
    worker = operator.pods(ID, "worker")[0]
    reach(launcher, LaunchState.PENDING)
    operator.hurt(worker, "unschedulable")
    assert wait_for(lambda: reason(launcher) == "NO_CAPACITY")
    operator.write_pod(worker, {"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]})

    assert wait_for(lambda: launcher.cause(ID) is None)


def test_pod_that_waits_in_the_place_of_a_lost_one_hides_nothing(launcher, operator) -> None:
    launcher.launch(REQUEST)
    operator.start(ID)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._pods.fresh)
    operator.hurt(operator.pods(ID, "worker")[0], "oom killed")
    assert wait_for(lambda: reason(launcher) == "OOM")
    operator.hurt(operator.pods(ID, "head")[0], "unschedulable")
    operator.hurt(operator.pods(ID, "head")[0], "drained")

    assert wait_for(lambda: reason(launcher) == "PREEMPTED")  # the later of two ends; the wait was never told


def test_hopeless_wait_is_not_forgotten_over_one_that_may_pass() -> None:
    now = [0.0]
    findings = Findings(clock=lambda: now[0])

    def note(pod: str, wound: str) -> None:
        spec = {"containers": [{"name": "ray-head", "image": "i"}]}
        findings.note({"metadata": {"name": pod, "labels": {ATTEMPT: ID}}, "spec": spec, "status": WOUNDS[wound](pod)})

    note("x-head-0", "image back-off")
    now[0] = 60
    note("x-worker-0", "unschedulable")
    note("x-head-0", "image not found")
    assert findings.of(ID).cause.reason == "IMAGE_UNAVAILABLE"
    assert (findings.hopeless(ID, 61), findings.hopeless(ID, 60)) == (False, True)


def test_quota_that_stops_the_pods_is_read_from_events(launcher, operator) -> None:
    launcher.launch(REQUEST)
    operator.start(ID, pods=False)
    operator.event(f"{ID}-abcde", 'pods "head" is forbidden: exceeded quota: small, requested: pods=1')

    assert reason(launcher) == "QUOTA_EXCEEDED"


@pytest.mark.parametrize(
    ("word", "message", "expected"),
    [
        ("ValidationFailed", "The RayJob spec is invalid", "CONTROLLER_ERROR"),
        ("DeadlineExceeded", "", "RUN_TIMEOUT"),
        ("SubmissionFailed", "no such file", "CONTROLLER_ERROR"),
        ("JobStatusCheckTimeoutExceeded", "", "NODE_LOST"),
        ("PreRunningDeadlineExceeded", "", "NO_CAPACITY"),
        ("AppFailed", "Task was killed due to the node running low on memory.", "OOM"),
        ("AppFailed", "Job entrypoint command failed with exit code 137", "NODE_LOST"),
    ],
)
def test_reasons_of_a_rayjob_without_pods(launcher, operator, word, message, expected) -> None:
    """An operator with --use-kubernetes-proxy may run heads that are no pods."""
    launcher.launch(REQUEST)
    operator.end(ID, "", word, message)

    reach(launcher, LaunchState.FAILED)
    assert reason(launcher) == expected


def test_every_wound_has_a_reason_of_its_own(cluster) -> None:
    for name, status in WOUNDS.items():
        pod = {"metadata": {"name": "x-head-0"}, "spec": {"containers": []}, "status": status("x-head-0")}
        assert finding_in(pod) is not None, name
