"""The reconciler over the KubeRay launcher: attempts that end in a cluster's ways are settled, resumed and cleaned up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from kubernetes_api import KubernetesDouble
from kubernetes_cluster import Cluster, wait_for
from kubernetes_operator import OperatorDouble

from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import open_storage
from udair_platform.entities.job import AttemptState, Job, JobState
from udair_platform.scheduler.launcher import Launcher, LaunchRequest, LaunchState
from udair_platform.scheduler.launchers.kuberay.pod_logs import PodLogs
from udair_platform.scheduler.reconciler import Reconciler


@dataclass
class Kube:
    """A control plane whose jobs run on Kubernetes, with hands on both sides."""

    plane: Any
    launcher: Launcher
    reconciler: Reconciler
    operator: OperatorDouble
    run: Callable[[dict[str, Any], int], str | None]

    def settle(self, id: str, until: Callable[[Job], bool] = lambda job: job.done, within_s: float = 20) -> Job:
        """Both loops take turns until the job is there; the plane's clock runs three times as fast as ours."""
        ends = time.monotonic() + within_s
        while not until(self.plane.job(id)) and time.monotonic() < ends:
            self.reconciler.tick()
            self.operator.work(self._run)
            self.plane.clock.forward(1)
            time.sleep(0.03)
        return self.plane.job(id)

    def attempts(self, job: Job) -> list[tuple[AttemptState, str | None]]:
        with self.plane.database.read() as state:
            return [(item.state, item.reason) for item in state.attempts.of_job("acme", job.id)]

    def _run(self, job: dict[str, Any]) -> str | None:
        number = int(job["spec"]["jobId"].rpartition("-")[2])
        return self.run(job, number)


def spec_of(job: dict[str, Any]) -> AdaptSpec:
    uri = job["spec"]["entrypoint"].partition("spec=")[2]
    folder, _, name = uri.rpartition("/")
    return AdaptSpec.model_validate_json(open_storage(folder).get(name))


def finished(plane: Any, job: dict[str, Any]) -> str:
    """Let the plane's own stand-in do the work of the RayJob's entrypoint; how Ray calls the end."""
    id, uri = job["spec"]["jobId"], job["spec"]["entrypoint"].partition("spec=")[2]
    plane.launcher.states.pop(id, None)
    plane.launcher.launch(LaunchRequest(id, uri))
    return str(plane.launcher.status(id))


@pytest.fixture
def kube(plane, make_launcher, namespace: str, cluster: Cluster, double: KubernetesDouble) -> Kube:
    """Jobs succeed unless the test says otherwise with `run`."""
    launcher = make_launcher(namespace, patience_s=0.3)
    reconciler = plane.restarted(launcher=launcher)
    return Kube(plane, launcher, reconciler, cluster.operator(namespace), lambda job, _: finished(plane, job))


def test_job_becomes_a_version_through_a_rayjob(kube: Kube) -> None:
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)

    assert (job.state, job.version) == (JobState.SUCCEEDED, 1)
    (rayjob,) = kube.operator.rayjobs()
    assert rayjob["metadata"]["name"] == f"{job.id}-1"
    assert rayjob["metadata"]["labels"]["udair/tenant"] == "acme"


def test_lost_node_costs_an_attempt_and_the_next_goes_on_from_the_checkpoint(kube: Kube) -> None:
    finish, seen = kube.run, []

    def run(job, number: int) -> str:
        checkpoints = open_storage(spec_of(job).checkpoint_uri)
        if number == 1:
            checkpoints.put("phase-ADAPTING.json", b"half of it")
            (head,) = kube.operator.pods(job["metadata"]["name"], "head")
            kube.operator.hurt(head, "node gone")
            kube.operator.lose(head)
            return "FAILED"
        seen.append(checkpoints.get("phase-ADAPTING.json"))
        return finish(job, number)

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)

    assert seen == [b"half of it"]
    assert (job.state, job.version) == (JobState.SUCCEEDED, 1)
    assert kube.attempts(job) == [(AttemptState.FAILED, "NODE_LOST"), (AttemptState.SUCCEEDED, None)]


def test_spot_worker_that_is_taken_away_costs_nothing(kube: Kube) -> None:
    finish = kube.run

    def run(job, number: int) -> str:
        if number > 4:
            return finish(job, number)
        kube.operator.hurt(kube.operator.pods(job["metadata"]["name"], "worker")[0], "node shut down")
        return "FAILED"

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id, within_s=40)

    assert job.state is JobState.SUCCEEDED
    assert [reason for _, reason in kube.attempts(job)] == ["PREEMPTED"] * 4 + [None]


def test_memory_that_does_not_suffice_is_tried_until_attempts_are_spent(kube: Kube) -> None:
    def run(job, number: int) -> str:
        kube.operator.hurt(kube.operator.pods(job["metadata"]["name"], "worker")[0], "oom killed")
        return "FAILED"

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)

    assert (job.state, job.reason) == (JobState.FAILED, "OOM")
    assert "more memory than its limit, 8Gi" in job.detail
    assert len(kube.attempts(job)) == 3


def test_image_that_cannot_be_pulled_fails_the_job_and_frees_its_clusters(kube: Kube) -> None:
    def run(job, number: int) -> None:
        kube.operator.hurt(kube.operator.pods(job["metadata"]["name"], "head")[0], "image back-off")

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)
    kube.operator.reap()

    assert (job.state, job.reason) == (JobState.FAILED, "IMAGE_UNAVAILABLE")
    assert "cannot be pulled" in job.detail
    assert len(kube.attempts(job)) == 3
    assert kube.operator.rayjobs() == []


def test_rayjob_that_somebody_deleted_is_tried_again(kube: Kube) -> None:
    finish, deleted = kube.run, []

    def run(job, number: int) -> str:
        if number > 1:
            return finish(job, number)
        if not deleted:
            deleted.append(kube.launcher.stop(f"{job['spec']['jobId']}"))
        return ""

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)

    assert job.state is JobState.SUCCEEDED
    assert [reason for _, reason in kube.attempts(job)] == ["NODE_LOST", None]


def test_quota_is_waited_for_and_told(kube: Kube, cluster: Cluster, namespace: str) -> None:
    counted = {"count/rayjobs.ray.io": "0"}
    quota = {"metadata": {"name": "none"}, "spec": {"hard": counted}}
    cluster.core.create_namespaced_resource_quota(namespace, quota)
    job = kube.plane.submit(kube.plane.domain())

    waiting = kube.settle(job.id, lambda job: job.state is JobState.RECOVERING)
    assert waiting.reason == "QUOTA_EXCEEDED"
    assert "exceeded quota: none" in waiting.detail
    cluster.core.delete_namespaced_resource_quota("none", namespace)

    assert kube.settle(job.id).state is JobState.SUCCEEDED


def test_api_server_may_be_gone_for_a_minute(kube: Kube, double: KubernetesDouble) -> None:
    finish, go_on = kube.run, []
    kube.run = lambda job, number: finish(job, number) if go_on else ""
    job = kube.plane.submit(kube.plane.domain())
    kube.settle(job.id, lambda job: job.state is JobState.RUNNING)

    with double.down():
        for _ in range(20):
            kube.reconciler.tick()
            kube.plane.clock.forward(3)
        assert kube.plane.job(job.id).state is JobState.RUNNING
    go_on.append(True)

    job = kube.settle(job.id)
    assert (job.state, len(kube.attempts(job))) == (JobState.SUCCEEDED, 1)


def test_cancelled_job_leaves_no_rayjob(kube: Kube) -> None:
    kube.run = lambda job, number: ""
    job = kube.plane.submit(kube.plane.domain())
    kube.settle(job.id, lambda job: job.state is JobState.RUNNING)

    kube.plane.client.post(f"/v1/domains/-/jobs/{job.id}:cancel")
    assert kube.settle(job.id).state is JobState.CANCELLED

    kube.operator.reap()
    assert kube.operator.rayjobs() == []


def test_queue_that_takes_a_running_jobs_place_away_costs_nothing(kube: Kube) -> None:
    finish = kube.run

    def run(job, number: int) -> str:
        if number > 1:
            return finish(job, number)
        if kube.plane.job(job["spec"]["jobId"].rpartition("-")[0]).state is JobState.RUNNING:
            kube.operator.status(job["metadata"]["name"], jobDeploymentStatus="Suspended", jobStatus="")
        return ""

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id)

    assert job.state is JobState.SUCCEEDED
    assert [reason for _, reason in kube.attempts(job)] == ["PREEMPTED", None]


def test_rayjob_that_no_job_needs_is_swept_and_that_of_another_is_not(kube: Kube) -> None:
    kube.run = lambda job, number: ""
    job = kube.plane.submit(kube.plane.domain())
    kube.settle(job.id, lambda job: job.state is JobState.RUNNING)
    kube.launcher.launch(LaunchRequest("j-forgotten-1", "s3://store/spec.json", None, "acme"))

    kube.plane.clock.forward(601)
    with kube.plane.database.write() as state:
        attempt = state.attempts.get("acme", job.id, 1)
        state.attempts.save(replace(attempt, heartbeat_seen_time=kube.plane.clock()))
    kube.reconciler.tick()
    kube.operator.reap()

    assert wait_for(lambda: kube.launcher.status("j-forgotten-1") is LaunchState.UNKNOWN), "the watch may be behind"
    assert kube.launcher.status(f"{job.id}-1") is LaunchState.RUNNING


def test_pending_deadline_says_what_was_waited_for(kube: Kube) -> None:
    def run(job, number: int) -> None:
        kube.operator.hurt(kube.operator.pods(job["metadata"]["name"], "worker")[0], "unschedulable")

    kube.run = run
    job = kube.plane.submit(kube.plane.domain())
    kube.settle(job.id, lambda _: kube.launcher.cause(f"{job.id}-1") is not None)
    kube.plane.clock.forward(90_000)

    job = kube.settle(job.id)
    assert (job.state, job.reason) == (JobState.EXPIRED, "PENDING_TIMEOUT")
    assert "Insufficient nvidia.com/gpu" in job.detail


def test_job_that_waits_says_why_at_once_and_no_longer_when_it_runs(kube: Kube) -> None:
    stuck = True

    def run(job, number: int) -> str | None:
        (worker,) = kube.operator.pods(job["metadata"]["name"], "worker")
        if stuck:
            kube.operator.hurt(worker, "unschedulable")
            return None
        kube.operator.write_pod(worker, {"phase": "Running", "conditions": []})
        return ""

    kube.run = run
    job = kube.settle(kube.plane.submit(kube.plane.domain()).id, lambda job: job.reason is not None)
    assert (job.state, job.reason) == (JobState.PROVISIONING, "NO_CAPACITY")
    assert "0/3 nodes are available: 3 Insufficient nvidia.com/gpu" in job.detail
    shown = kube.plane.client.get(f"/v1/domains/-/jobs/{job.id}").json()
    assert (shown["reason"], shown["detail"]) == (job.reason, job.detail)
    with kube.plane.database.read() as state:
        told = state.events.since("acme", "job.PROVISIONING", job.created_time, size=10)
    assert "NO_CAPACITY" in [event.data["reason"] for event in told], "who follows its events is told, too"

    stuck = False
    job = kube.settle(job.id, lambda job: job.state is JobState.RUNNING)
    assert (job.state, job.reason, job.detail) == (JobState.RUNNING, None, "")


def test_kubelet_that_does_not_answer_holds_up_no_turn(kube: Kube, double: KubernetesDouble) -> None:
    kube.run = lambda job, number: ""
    first = kube.settle(kube.plane.submit(kube.plane.domain()).id, lambda job: job.state is JobState.RUNNING)
    double.silent |= {*kube.operator.pods(f"{first.id}-1", "head"), *kube.operator.pods(f"{first.id}-1", "worker")}
    kube.launcher._logs = PodLogs(kube.launcher._api, read_s=60)  # however long it is waited for
    second = kube.plane.submit(kube.plane.domain("harbour"))

    began = time.monotonic()
    for _ in range(6):
        kube.plane.clock.forward(6)
        kube.reconciler.tick()
    took_s = time.monotonic() - began

    double.silent.clear()
    assert kube.launcher.status(f"{second.id}-1") is LaunchState.PENDING, "others are launched"
    assert took_s < 8, "the server itself gives the kubelet up after ten seconds"
