"""The contract of the KubeRay launcher with a cluster, on the double or on a real one (kubernetes_cluster.py)."""

from __future__ import annotations

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes_attempt import ID, REQUEST, reach
from kubernetes_cluster import wait_for

from udair_platform.errors import LauncherDown, NoCapacity, NotLaunched
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers import make_launcher as make_launcher_of
from udair_platform.scheduler.launchers.kuberay import launcher as launcher_module
from udair_platform.settings import load_settings

pytestmark = pytest.mark.k8s


def test_attempt_becomes_one_rayjob_that_its_labels_find(launcher, cluster, namespace) -> None:
    launcher.launch(REQUEST)

    (job,) = cluster.rayjobs(namespace)
    assert job["metadata"]["name"] == job["spec"]["jobId"] == ID
    assert job["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "udair",
        "app.kubernetes.io/instance": "udair",
        "udair/job": "j-5f0c1e2ab94d",
        "udair/attempt": ID,
        "udair/tenant": "acme",
    }
    assert job["spec"]["entrypoint"].endswith(
        "python -m udair_jobs.adapt_domain spec=s3://store/t/acme/spec.json spec_endpoint_url=http://s3.internal:9000"
    )
    assert [one["manager"] for one in job["metadata"]["managedFields"] if one["operation"] == "Apply"] == [
        "udair-launcher"
    ]


def test_launching_again_changes_nothing(launcher, make_launcher, operator, cluster, namespace) -> None:
    launcher.launch(REQUEST)
    operator.start(ID)
    before = cluster.rayjob(namespace, ID)

    launcher.launch(REQUEST)
    make_launcher(namespace, kube={"image": "example.org/udair-jobs:2"}).launch(REQUEST)  # upgraded meanwhile

    assert cluster.rayjob(namespace, ID)["spec"] == before["spec"]
    assert cluster.rayjob(namespace, ID)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_two_reconcilers_that_launch_at_once_make_one_rayjob(make_launcher, cluster, namespace) -> None:
    launchers = [make_launcher(namespace) for _ in range(4)]
    barrier = threading.Barrier(len(launchers))

    def launch(launcher) -> None:
        barrier.wait()
        launcher._apply(REQUEST)  # past the look at what is there, as in the worst case

    with ThreadPoolExecutor(len(launchers)) as pool:
        list(pool.map(launch, launchers))

    (job,) = cluster.rayjobs(namespace)
    assert cluster.operated or job["metadata"]["generation"] == 1


def test_kueue_or_a_person_touching_a_launched_job_is_no_conflict(make_launcher, cluster, namespace) -> None:
    queued = make_launcher(namespace, kube={"queue": "jobs"})
    queued.launch(REQUEST)
    cluster.custom.patch_namespaced_custom_object(
        "ray.io", "v1", namespace, "rayjobs", ID, {"spec": {"suspend": False}}, field_manager="kueue"
    )

    queued._apply(REQUEST)

    assert cluster.rayjob(namespace, ID)["spec"]["suspend"] is False


def test_name_that_somebody_else_has_is_never_forced(launcher, cluster, namespace) -> None:
    theirs = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": ID},
        "spec": {"entrypoint": "sleep 1"},
    }
    cluster.custom.patch_namespaced_custom_object(
        "ray.io",
        "v1",
        namespace,
        "rayjobs",
        ID,
        theirs,
        field_manager="somebody",
        _content_type="application/apply-patch+yaml",
    )

    with pytest.raises(NotLaunched, match=r"belongs to somebody else.*\"somebody\".*\.spec\.entrypoint") as caught:
        launcher.launch(REQUEST)

    assert caught.value.reason == "CONTROLLER_ERROR"
    assert cluster.rayjob(namespace, ID)["spec"]["entrypoint"] == "sleep 1"


def test_check_tries_everything_and_leaves_nothing(launcher, cluster, namespace) -> None:
    launcher.check("acme")

    assert cluster.rayjobs(namespace) == []


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("spec", {"retryOnMondays": True}, r"KubeRay 1\.7\.0.*retryOnMondays"),
        ("spec", {"backoffLimit": "none"}, r"KubeRay 1\.7\.0.*backoffLimit"),
        ("spec", {"preRunningDeadlineSeconds": 0}, r"refused .*\(422\).*preRunningDeadlineSeconds"),
        ("metadata", {"labels": {"a": "no label"}}, r"refused .*\(422\).*label"),
    ],
)
def test_object_that_the_cluster_does_not_take_is_refused_with_its_field(
    launcher, monkeypatch, cluster, namespace, where: str, value: dict, said: str
) -> None:
    build = launcher_module.body.rayjob

    def altered(*arguments):
        made = build(*arguments)
        return {**made, where: {**made[where], **value}}

    monkeypatch.setattr(launcher_module.body, "rayjob", altered)

    with pytest.raises(NotLaunched, match=said) as caught:
        launcher.launch(REQUEST)
    assert caught.value.reason == "CONTROLLER_ERROR"
    assert cluster.rayjobs(namespace) == []


def test_every_write_is_strict_signed_and_never_forced(launcher, double) -> None:
    double.writes.clear()
    launcher.check("acme")
    launcher.launch(REQUEST)

    ours = {"fieldManager": "udair-launcher", "fieldValidation": "Strict", "force": "false"}
    assert double.writes == [("PATCH", {**ours, "dryRun": "All"}), ("PATCH", ours)]


def test_it_is_the_launcher_that_the_settings_name(cluster, monkeypatch, tmp_path, namespace) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("UDAIR_KUBE_IMAGE", "example.org/udair-jobs:1")
    monkeypatch.setenv("UDAIR_KUBE_NAMESPACE", namespace)

    launcher = make_launcher_of(load_settings(home=tmp_path, launcher="kuberay"))
    launcher.launch(REQUEST)

    assert len(cluster.rayjobs(namespace)) == 1
    launcher.close()


def test_no_way_to_a_cluster_is_told(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("UDAIR_KUBE_IMAGE", "i")
    monkeypatch.setenv("UDAIR_KUBE_KUBECONFIG", str(tmp_path / "none"))

    with pytest.raises(LauncherDown, match="Set UDAIR_KUBE_KUBECONFIG"):
        make_launcher_of(load_settings(home=tmp_path, launcher="kuberay"))


# Namespaces and quotas


def test_quota_that_is_used_up_is_no_fault_of_the_job(launcher, cluster, namespace) -> None:
    counted = "count/rayjobs.ray.io"
    cluster.core.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "small"}, "spec": {"hard": {counted: "1"}}}
    )
    launcher.launch(REQUEST)
    status = {"status": {"hard": {counted: "1"}, "used": {counted: "1"}}}  # where no controller counts
    cluster.core.patch_namespaced_resource_quota_status(
        "small", namespace, status, _content_type="application/merge-patch+json"
    )

    with pytest.raises(NotLaunched, match="exceeded quota: small") as caught:
        launcher.launch(LaunchRequest("j-2-1", "s3://b/s", None, "acme"))

    assert caught.value.reason == "QUOTA_EXCEEDED"


def test_namespace_that_is_going_takes_no_attempt(launcher, cluster, namespace) -> None:
    cluster.core.create_namespaced_config_map(
        namespace, {"metadata": {"name": "held", "finalizers": ["example.org/held"]}}
    )
    cluster.core.delete_namespace(namespace)
    try:
        with pytest.raises(NoCapacity, match=f"Namespace {namespace} is being deleted"):
            launcher.launch(REQUEST)
    finally:
        cluster.core.patch_namespaced_config_map(
            "held", namespace, {"metadata": {"finalizers": None}}, _content_type="application/merge-patch+json"
        )


def test_namespace_that_is_not_there_is_named(make_launcher, cluster) -> None:
    launcher = make_launcher("udair-nowhere")

    with pytest.raises(NoCapacity, match="Namespace udair-nowhere does not exist"):
        launcher.launch(REQUEST)
    assert launcher.status(ID) is LaunchState.UNKNOWN


def test_tenants_jobs_run_in_their_own_namespaces_and_one_launcher_sees_them_all(make_launcher, cluster) -> None:
    tenants = [f"t{secrets.token_hex(4)}" for _ in range(2)]
    names = [cluster.namespace(f"udair-t-{tenant}") for tenant in tenants]
    try:
        launcher = make_launcher("udair", kube={"namespace_per_tenant": True})
        launcher.launch(replace(REQUEST, tenant=tenants[0]))
        launcher.launch(LaunchRequest("j-2-1", "s3://b/s", None, tenants[1]))

        assert [len(cluster.rayjobs(name)) for name in names] == [1, 1]
        assert launcher.status(ID) is launcher.status("j-2-1") is LaunchState.PENDING
        launcher.stop("j-2-1")
        assert wait_for(lambda: [len(cluster.rayjobs(name)) for name in names] == [1, 0])
    finally:
        cluster.clean()


# Status


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, LaunchState.PENDING),
        ({"jobDeploymentStatus": "Initializing"}, LaunchState.PENDING),
        ({"jobDeploymentStatus": "Suspended"}, LaunchState.SUSPENDED),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, LaunchState.PENDING),
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, LaunchState.RUNNING),
        ({"jobDeploymentStatus": "Running", "jobStatus": "FAILED"}, LaunchState.FAILED),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, LaunchState.SUCCEEDED),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, LaunchState.STOPPED),
        ({"jobDeploymentStatus": "Failed", "reason": "PreRunningDeadlineExceeded"}, LaunchState.FAILED),
        ({"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed"}, LaunchState.FAILED),
    ],
)
def test_states_of_a_rayjob(launcher, operator, status, state) -> None:
    launcher.launch(REQUEST)
    operator.status(ID, **status)

    reach(launcher, state)


def test_status_is_the_operators_to_write_and_a_launch_never_resets_it(launcher, operator, cluster, namespace) -> None:
    launcher.launch(REQUEST)
    operator.status(ID, jobDeploymentStatus="Running", jobStatus="RUNNING")

    launcher._apply(REQUEST)

    assert cluster.rayjob(namespace, ID)["status"]["jobStatus"] == "RUNNING"


def test_rayjob_that_was_deleted_by_hand_is_unknown(launcher, cluster, namespace) -> None:
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    cluster.custom.delete_namespaced_custom_object("ray.io", "v1", namespace, "rayjobs", ID)

    reach(launcher, LaunchState.UNKNOWN)
    assert cluster.operated or launcher.cause(ID) is None


def test_stopping_deletes_the_job_with_its_cluster_once_the_operator_lets_go(
    launcher, operator, cluster, namespace
) -> None:
    launcher.launch(REQUEST)
    operator.start(ID)
    operator.run(ID)
    reach(launcher, LaunchState.RUNNING)

    launcher.stop(ID)
    launcher.stop(ID)
    assert launcher.status(ID) is LaunchState.RUNNING  # until nothing runs any more
    assert launcher.held() == []
    operator.reap()

    reach(launcher, LaunchState.UNKNOWN)
    launcher.stop(ID)
    assert wait_for(lambda: not operator.pods(ID, "head") or cluster.double is None)


def test_held_is_what_lives_and_what_nobody_deletes(launcher, operator) -> None:
    for number in range(1, 6):
        launcher.launch(LaunchRequest(f"j-{number}-1", "s3://b/s", None, "acme"))
    operator.end("j-2-1", "SUCCEEDED")
    operator.end("j-3-1", "SUCCEEDED")
    operator.status("j-3-1", endTime="2026-01-01T00:00:00Z")
    # No rule of the operator's deletes what was stopped: it is held as soon as its cluster need not be looked at.
    half_an_hour_ago = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for number, status in ((4, "STOPPED"), (5, "SUCCEEDED")):
        operator.end(f"j-{number}-1", status)
        operator.status(f"j-{number}-1", endTime=half_an_hour_ago)

    assert sorted(launcher.held()) == ["j-1-1", "j-3-1", "j-4-1"]


def test_other_platforms_of_the_namespace_are_left_alone(launcher, make_launcher, namespace) -> None:
    other = make_launcher(namespace, kube={"instance": "staging"})
    other.launch(REQUEST)

    assert (list(launcher.held()), launcher.status(ID)) == ([], LaunchState.UNKNOWN)
    launcher.stop(ID)
    assert other.status(ID) is LaunchState.PENDING


# Logs


def test_log_is_what_the_pods_printed_while_they_live(launcher, operator, double, namespace) -> None:
    launcher.launch(REQUEST)
    assert launcher.logs(ID) == ""
    operator.start(ID)
    (head,), (worker,) = operator.pods(ID, "head"), operator.pods(ID, "worker")
    assert launcher.logs(ID) == ""  # their containers are being made
    double.logs[namespace, head, "ray-head"] = "Ray runtime started.\n"
    double.logs[namespace, worker, "ray-worker"] = "step 1\n" + "x" * 5000 + "\nstep 2\n"

    assert launcher.logs(ID).startswith(f"==> {head} <==\nRay runtime started.\n\n==> {worker} <==\nstep 1\n")
    assert launcher.logs(ID, max_bytes=11) == "xxx\nstep 2\n"
    launcher.status(ID)
    assert wait_for(lambda: launcher._pods.fresh)
    operator.lose(head)
    operator.lose(worker)
    assert wait_for(lambda: launcher.logs(ID) == "")


# With a real operator


def test_real_operator_runs_a_job_to_its_end(cluster, make_launcher) -> None:
    image = os.environ.get("UDAIR_TEST_JOB_IMAGE")
    if not image or not cluster.operated:
        pytest.skip("needs UDAIR_TEST_KUBECONFIG with a KubeRay operator, and UDAIR_TEST_JOB_IMAGE")
    namespace = cluster.namespace()
    small = {"cpu": "500m", "memory": "2Gi"}
    kube = {"image": image, "workers": 0, "head_resources": small, "ttl_s": 5}
    # `echo -m udair_jobs.adapt_domain spec=…`: a job that any image can run.
    launcher = make_launcher(namespace, kube=kube, job_python="echo", job_cpus=0)
    try:
        launcher.launch(REQUEST)
        launcher.launch(REQUEST)
        reach(launcher, LaunchState.SUCCEEDED, within_s=300)
        assert launcher.cause(ID) is None
        launcher.stop(ID)
        reach(launcher, LaunchState.UNKNOWN, within_s=60)
    finally:
        cluster.clean()
