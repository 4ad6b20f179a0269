"""The contract of the KubeRay launcher with a cluster, on the double or on a real one (kubernetes_cluster.py)."""

from __future__ import annotations

import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from kubernetes import client
from kubernetes_cluster import wait_for
from kubernetes_operator import WOUNDS

from udair_platform.errors import LauncherDown, NoCapacity, NotLaunched
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState
from udair_platform.scheduler.launchers import make_launcher as make_launcher_of
from udair_platform.scheduler.launchers.kuberay import launcher as launcher_module
from udair_platform.scheduler.launchers.kuberay.rules import LAUNCHER_RULES, WATCHED, Rule
from udair_platform.settings import load_settings

pytestmark = pytest.mark.k8s

RULES = [(rule.group, rule.resource, rule.verbs) for rule in LAUNCHER_RULES]
REQUEST = LaunchRequest("j-5f0c1e2ab94d-1", "s3://store/t/acme/spec.json", "http://s3.internal:9000", "acme")
ID = REQUEST.submission_id


def reach(launcher, *states: LaunchState, within_s: float = 20) -> None:
    assert wait_for(lambda: launcher.status(ID) in states, within_s), launcher.status(ID)


def seen_status(launcher) -> dict | None:
    """Of the watched copy."""
    return next((job.get("status") for job in launcher._rayjobs.all_with("udair/attempt", ID)), None)


def reason(launcher) -> str | None:
    cause = launcher.cause(ID)
    return cause.reason if cause else None


# Launching


def test_attempt_becomes_one_rayjob_that_its_labels_find(launcher, cluster, namespace) -> None:
    launcher.launch(REQUEST)

    (job,) = cluster.rayjobs(namespace)
    assert job["metadata"]["name"] == job["spec"]["jobId"] == ID
    assert job["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "udair", "app.kubernetes.io/instance": "udair",
        "udair/job": "j-5f0c1e2ab94d", "udair/attempt": ID, "udair/tenant": "acme",
    }  # fmt: skip
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
    assert job["metadata"]["generation"] == 1


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
        "apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": ID}, "spec": {"entrypoint": "sleep 1"},
    }  # fmt: skip
    cluster.custom.patch_namespaced_custom_object(
        "ray.io", "v1", namespace, "rayjobs", ID, theirs, field_manager="somebody",
        _content_type="application/apply-patch+yaml",
    )  # fmt: skip

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
        assert [len(cluster.rayjobs(name)) for name in names] == [1, 0]
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
    for number in (1, 2, 3):
        launcher.launch(LaunchRequest(f"j-{number}-1", "s3://b/s", None, "acme"))
    operator.end("j-2-1", "SUCCEEDED")
    operator.end("j-3-1", "STOPPED")
    operator.status("j-3-1", endTime="2026-01-01T00:00:00Z")

    assert sorted(launcher.held()) == ["j-1-1", "j-3-1"]


def test_other_platforms_of_the_namespace_are_left_alone(launcher, make_launcher, namespace) -> None:
    other = make_launcher(namespace, kube={"instance": "staging"})
    other.launch(REQUEST)

    assert (list(launcher.held()), launcher.status(ID)) == ([], LaunchState.UNKNOWN)
    launcher.stop(ID)
    assert other.status(ID) is LaunchState.PENDING


# Why it ended


@pytest.mark.parametrize(
    ("wound", "role", "expected"),
    [
        ("oom killed", "worker", "OOM"),
        ("evicted, memory", "worker", "OOM"),
        ("evicted, disk", "head", "NODE_LOST"),
        ("preempted by the scheduler", "worker", "PREEMPTED"),
        ("drained", "worker", "PREEMPTED"),
        ("node shut down", "worker", "PREEMPTED"),
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
    from udair_platform.scheduler.launchers.kuberay.findings import finding_in

    for name, status in WOUNDS.items():
        pod = {"metadata": {"name": "x-head-0"}, "spec": {"containers": []}, "status": status("x-head-0")}
        assert finding_in(pod) is not None, name


# Access


def exercise(launcher, cluster, request: LaunchRequest, namespace: str) -> None:
    """Everything that the launcher ever asks of the server."""
    launcher.check(request.tenant)
    launcher.launch(request)
    if not cluster.operated:
        cluster.operator(namespace).start(ID)
    assert launcher.status(ID) is LaunchState.PENDING
    watches = (launcher._rayjobs, launcher._pods)
    assert wait_for(lambda: all(one.fresh and one._changes for one in watches), within_s=1.5), "a watch is not allowed"
    launcher.cause(ID)
    launcher.logs(ID)
    launcher.held()
    launcher.stop(ID)


def test_launcher_works_with_its_rules_and_asks_for_nothing_else(cluster, namespace, make_launcher) -> None:
    kubeconfig = cluster.account(namespace, RULES)
    if cluster.double:
        cluster.double.access.checked.clear()

    exercise(make_launcher(namespace, kube={"kubeconfig": kubeconfig}), cluster, REQUEST, namespace)

    if cluster.double:
        asked = {tuple(what) for who, *what in cluster.double.access.checked if who != "admin"}
        assert asked == {(group, resource, verb) for group, resource, verbs in RULES for verb in verbs}


def test_tenants_namespaces_need_the_watched_rules_everywhere_and_the_others_there(cluster, make_launcher) -> None:
    tenant = f"t{secrets.token_hex(4)}"
    namespace = cluster.namespace(f"udair-t-{tenant}")
    try:
        watched = [(rule.group, rule.resource, rule.verbs) for rule in WATCHED]
        kubeconfig = cluster.account(namespace, [one for one in RULES if one not in watched], everywhere=watched)
        launcher = make_launcher("udair", kube={"namespace_per_tenant": True, "kubeconfig": kubeconfig})

        exercise(launcher, cluster, replace(REQUEST, tenant=tenant), namespace)
        with pytest.raises(LauncherDown, match=r"cannot patch resource .* in the namespace \"udair-t-globex"):
            launcher.launch(LaunchRequest("j-2-1", "s3://b/s", None, "globex"))
    finally:
        cluster.clean()


@pytest.mark.parametrize("rule", LAUNCHER_RULES, ids=lambda rule: f"{rule.group or 'core'}/{rule.resource}")
def test_no_rule_can_be_spared_and_the_missing_one_is_named(cluster, namespace, make_launcher, rule: Rule) -> None:
    if rule.resource == "pods/log" and cluster.operated:
        pytest.skip("a real operator's heads may be no pods")
    for verb in rule.verbs:
        fewer = [(g, r, [v for v in verbs if (g, r, v) != (rule.group, rule.resource, verb)]) for g, r, verbs in RULES]
        kubeconfig = cluster.account(namespace, fewer)

        with pytest.raises((LauncherDown, AssertionError)) as caught:
            exercise(make_launcher(namespace, kube={"kubeconfig": kubeconfig}), cluster, REQUEST, namespace)

        if caught.type is LauncherDown:
            assert f"cannot {verb} resource" in str(caught.value), caught.value
        else:
            assert rule in WATCHED
            assert "watch" in str(caught.value)
        for job in cluster.rayjobs(namespace):
            cluster.custom.delete_namespaced_custom_object(
                "ray.io", "v1", namespace, "rayjobs", job["metadata"]["name"]
            )
        assert wait_for(lambda: cluster.operated or cluster.operator(namespace).reap() or True)
        assert wait_for(lambda: not cluster.rayjobs(namespace))


def test_token_that_is_no_good_is_a_launcher_that_is_down(cluster, namespace, make_launcher) -> None:
    launcher = make_launcher(namespace, kube={"kubeconfig": cluster.kubeconfig_with("f" * 32, "stranger")})

    with pytest.raises(LauncherDown, match="does not know us"):
        launcher.launch(REQUEST)


def test_promotions_never_reach_the_cluster() -> None:
    assert not any(rule.resource == "rayservices" for rule in LAUNCHER_RULES)


# Faults of the API server


def test_cluster_without_kuberay_names_the_version_wanted(empty_double, make_launcher) -> None:
    client.CoreV1Api(_admin(empty_double)).create_namespace({"metadata": {"name": "udair"}})
    launcher = make_launcher("udair", kube={"kubeconfig": empty_double.kubeconfig})

    for ask in (lambda: launcher.launch(REQUEST), lambda: launcher.check("acme"), lambda: launcher.status(ID)):
        with pytest.raises(LauncherDown, match=r"install KubeRay 1\.7\.0"):
            ask()


def _admin(double) -> client.ApiClient:
    from kubernetes import config

    chosen = client.Configuration()
    config.load_kube_config(str(double.kubeconfig), client_configuration=chosen)
    return client.ApiClient(chosen)


def test_api_server_that_is_away_is_down_not_unknown_and_is_found_again(launcher, operator, double) -> None:
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)

    with double.down():
        assert wait_for(lambda: not launcher._rayjobs.fresh)
        for ask in (launcher.status, launcher.stop, launcher.cause, launcher.logs):
            with pytest.raises(LauncherDown, match="does not answer"):
                ask(ID)
        with pytest.raises(LauncherDown, match="does not answer"):
            launcher.launch(REQUEST)
    operator.run(ID)

    reach(launcher, LaunchState.RUNNING)
    assert wait_for(lambda: launcher._rayjobs.fresh and double.watches >= 2)


def test_watch_that_has_expired_lists_anew_and_misses_nothing(launcher, operator, double) -> None:
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)
    lists = launcher._rayjobs.lists

    double.expire()
    operator.run(ID)

    assert wait_for(lambda: launcher._rayjobs.lists > lists)
    assert wait_for(lambda: seen_status(launcher))
    assert launcher.status(ID) is LaunchState.RUNNING


def test_watch_goes_on_where_it_was_thanks_to_bookmarks(launcher, operator, double, cluster, namespace) -> None:
    """The place moves on while nothing of ours changes, so that the end of a watch needs no new list."""
    launcher.launch(REQUEST)
    reach(launcher, LaunchState.PENDING)
    assert wait_for(lambda: launcher._rayjobs.fresh)
    lists = launcher._rayjobs.lists
    for number in range(3):
        cluster.core.create_namespaced_config_map(namespace, {"metadata": {"name": f"other-{number}"}})
    wait_for(lambda: False, within_s=2.6)  # a watch is two seconds long here
    operator.run(ID)

    assert wait_for(lambda: seen_status(launcher))
    assert launcher._rayjobs.lists == lists


def test_server_that_is_overloaded_is_asked_again_later(launcher, double) -> None:
    from kubernetes_status import StatusError

    for code in (429, 500, 503):
        double.refusals.append(StatusError(code, "Busy", "the server is busy"))
        with pytest.raises(LauncherDown, match=f"cannot answer now \\({code}\\)"):
            launcher.launch(REQUEST)
    launcher.launch(REQUEST)


def test_closed_launcher_leaves_no_thread_behind(make_launcher, namespace) -> None:
    launcher = make_launcher(namespace)
    launcher.launch(REQUEST)
    launcher.status(ID)
    assert wait_for(lambda: launcher._rayjobs.fresh and launcher._pods.fresh)
    threads = [launcher._rayjobs._thread, launcher._pods._thread]
    assert all(thread.is_alive() for thread in threads)

    launcher.close()

    assert not any(thread.is_alive() for thread in threads)


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
