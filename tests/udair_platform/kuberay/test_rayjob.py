"""The RayJob of an attempt: accepted by KubeRay's schema and its own checks, restricted, and without a secret."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_access import violations
from kubernetes_schema import Definition, published_crd

from udair_platform.errors import SettingsError
from udair_platform.scheduler.launcher import LaunchRequest
from udair_platform.scheduler.launchers.kuberay import rayjob as body
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings, load_kube_settings
from udair_platform.settings import load_settings

REQUEST = LaunchRequest("j-5f0c1e2ab94d-2", "s3://store/t/acme/spec.json", None, "acme")
TOLERATION = {"key": "cloud.example.org/spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
CHOICES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "one pod": {"workers": 0},
    "sidecar": {"submission_mode": "SidecarMode"},
    "queued": {"queue": "jobs"},
    "everything": {
        "workers": 3,
        "workers_on_spot": True,
        "worker_tolerations": [TOLERATION],
        "worker_node_selector": {"pool": "spot"},
        "head_node_selector": {"pool": "on-demand"},
        "priority_class": "low",
        "service_account": "udair-job",
        "env_secret": "udair-s3",
        "image_pull_secrets": ["registry"],
        "ray_token_secret": "ray-token",
        "namespace_per_tenant": True,
    },
}


def built(tmp_path, choice: str = "as it comes", gpus: float = 0, request: LaunchRequest = REQUEST) -> dict[str, Any]:
    settings = load_kube_settings(image="example.org/udair-jobs:1", **CHOICES[choice])
    return body.rayjob(load_settings(home=tmp_path, job_gpus=gpus), settings, request)


def templates(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())]
    return [group["template"] for group in groups]


@cache
def definition() -> Definition:
    return Definition(published_crd("rayjobs"), "v1")


def refused_by_the_operator(job: dict[str, Any]) -> list[str]:
    """The checks of KubeRay's validation.go that no schema holds, as far as they concern what we send."""
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    rules = (spec.get("deletionStrategy") or {}).get("deletionRules") or []
    shuts_down = spec.get("shutdownAfterJobFinishes", False)
    ages: dict[str, dict[str, int]] = {}
    for rule in rules:
        condition = dict(rule["condition"])
        after = condition.pop("ttlSeconds")
        ages.setdefault(json.dumps(condition), {})[rule["policy"]] = after
    checks = {
        "name too long": len(job["metadata"]["name"]) > 47,
        "no DNS-1035 label": not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"]),
        "suspended without shutdown": spec.get("suspend") and not shuts_down,
        "ttl without shutdown": spec.get("ttlSecondsAfterFinished", 0) > 0 and not shuts_down,
        "rules with shutdown": rules and shuts_down,
        "rules out of order": any(one["DeleteCluster"] > one["DeleteSelf"] for one in ages.values()),
        "tokens without version": not cluster.get("rayVersion"),
        "sidecar restarts": spec["submissionMode"] == "SidecarMode"
        and templates(job)[0]["spec"].get("restartPolicy") != "Never",
        "deadline": spec["activeDeadlineSeconds"] <= 0,
        "resources twice": any("resources" in group for group in [cluster["headGroupSpec"]]),
    }
    return [what for what, wrong in checks.items() if wrong]


@pytest.mark.parametrize("gpus", [0, 1])
@pytest.mark.parametrize("choice", CHOICES)
def test_kuberay_accepts_it_strictly(tmp_path, choice: str, gpus: int) -> None:
    job = built(tmp_path, choice, gpus)

    definition().admit(job, strict=True)
    assert refused_by_the_operator(job) == []


@pytest.mark.parametrize("choice", CHOICES)
def test_pods_are_valid_restricted_and_bounded(tmp_path, choice: str) -> None:
    job = built(tmp_path, choice)

    for template in templates(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "it", **template["metadata"]}, **template}
        kubernetes_validate.validate({**pod, "metadata": {"name": "it", **template["metadata"]}}, "1.36", strict=True)
        assert list(violations(template["spec"])) == []
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in template["spec"]["containers"]:
            wanted = container["resources"]
            assert wanted["requests"] == wanted["limits"]
            assert {"cpu", "memory"} <= wanted["limits"].keys()


def test_one_cluster_per_attempt_with_tokens_and_without_retries_of_kuberays_own(tmp_path) -> None:
    spec = built(tmp_path)["spec"]

    assert spec["backoffLimit"] == 0
    assert spec["submissionMode"] == "HTTPMode"
    assert spec["jobId"] == "j-5f0c1e2ab94d-2"
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert "clusterSelector" not in spec
    assert "runtimeEnvYAML" not in spec  # everybody who may list jobs reads it


def test_operators_deadlines_leave_the_first_word_to_the_control_plane(tmp_path) -> None:
    spec = built(tmp_path)["spec"]

    assert spec["preRunningDeadlineSeconds"] == 1800
    assert spec["activeDeadlineSeconds"] > 1800 + load_settings(home=tmp_path).run_timeout_s


def test_ended_clusters_go_before_their_rayjobs_whatever_their_end(tmp_path) -> None:
    rules = built(tmp_path)["spec"]["deletionStrategy"]["deletionRules"]

    assert [(rule["policy"], *rule["condition"].values()) for rule in rules] == [
        ("DeleteCluster", "SUCCEEDED", 600),
        ("DeleteSelf", "SUCCEEDED", 4200),
        ("DeleteCluster", "Failed", 600),
        ("DeleteSelf", "Failed", 4200),
    ]


def test_queued_job_starts_suspended_under_its_queue(tmp_path) -> None:
    job = built(tmp_path, "queued")

    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "jobs"
    assert job["spec"]["suspend"] is True
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_head_stays_on_demand_and_takes_no_work_while_workers_may_be_on_spot(tmp_path) -> None:
    job = built(tmp_path, "everything", gpus=1)
    head, worker = templates(job)

    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    assert (head["spec"]["nodeSelector"], worker["spec"]["nodeSelector"]) == ({"pool": "on-demand"}, {"pool": "spot"})
    assert ("tolerations" in head["spec"], worker["spec"]["tolerations"]) == (False, [TOLERATION])
    assert ("udair/spot" in head["metadata"]["labels"], worker["metadata"]["labels"]["udair/spot"]) == (False, "true")
    limits = [template["spec"]["containers"][0]["resources"]["limits"] for template in (head, worker)]
    assert ["nvidia.com/gpu" in one for one in limits] == [False, True]


def test_single_pod_does_the_work_itself(tmp_path) -> None:
    cluster = built(tmp_path, "one pod", gpus=1)["spec"]["rayClusterSpec"]

    assert cluster["headGroupSpec"]["rayStartParams"] == {}
    assert "workerGroupSpecs" not in cluster
    head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert head["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_credentials_are_named_never_held(tmp_path, monkeypatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "UDAIR_API_KEY"):
        monkeypatch.setenv(name, "very-secret-indeed")
    job = built(tmp_path, "everything")

    assert "secret-indeed" not in json.dumps(job)
    for template in templates(job):
        assert template["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "udair-s3"}}]
        assert template["spec"]["serviceAccountName"] == "udair-job"
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "ray-token"}


@pytest.mark.parametrize("uri", ["/a b/spec.json", "/a';rm -rf ~;'/spec.json", "s3://b/$(id)/`x`/spec.json"])
def test_entrypoint_survives_the_shell_with_its_output_and_its_end(uri: str) -> None:
    request = LaunchRequest("j-1-1", uri, None, "acme")
    saying = 'printf "%s\\n" "$@"; echo wrong >&2; exit 7'

    said = subprocess.run(
        body.entrypoint("bash", request).replace("bash -m", f"bash -c {shlex.quote(saying)} -m"),
        shell=True,
        capture_output=True,
        text=True,
    )

    assert said.stdout.splitlines() == request.arguments()[1:]
    assert (said.stderr, said.returncode) == ("wrong\n", 7)


def test_what_the_job_prints_is_in_the_log_of_the_pod_that_runs_it(tmp_path) -> None:
    """A process tree of its own stands for the container: its first process is called as KubeRay calls Ray."""
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine makes no process namespaces")
    entrypoint = body.entrypoint("echo", LaunchRequest("j-1-1", "file:///spec.json"))
    (tmp_path / "job").write_text(f"{entrypoint} > {tmp_path}/driver 2>&1; echo $? > {tmp_path}/code; sleep 0.2")

    pod = subprocess.run(
        [*alone, "bash", "-c", f": ray start --head; sh {tmp_path}/job; echo over"], capture_output=True, text=True
    )

    assert pod.stdout == "-m udair_jobs.adapt_domain spec=file:///spec.json\nover\n", pod.stderr
    assert (tmp_path / "driver").read_text() == "-m udair_jobs.adapt_domain spec=file:///spec.json\n"
    assert (tmp_path / "code").read_text() == "0\n"


@given(st.text(min_size=1, max_size=120))
def test_any_id_gives_a_name_that_kuberay_takes(id: str) -> None:
    name = body.name_of(id)

    assert len(name) <= 47
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)


def test_ids_of_ours_are_their_own_names_and_long_ones_stay_apart() -> None:
    assert body.name_of("j-5f0c1e2ab94d-12") == "j-5f0c1e2ab94d-12"
    assert body.name_of("j-0123456789abcdef-3") == "j-0123456789abcdef-3"
    assert len({body.name_of("j-" + "a" * 60 + f"-{number}") for number in range(50)}) == 50


def test_every_tenant_has_a_namespace_of_its_own() -> None:
    settings = load_kube_settings(image="i", namespace_per_tenant=True)

    assert body.namespace_of(settings, "acme") == "udair-t-acme"
    longest = [body.namespace_of(settings, "a" * 62 + end) for end in "bc"]
    assert len(set(longest)) == 2
    assert all(len(name) <= 63 for name in longest)
    assert body.namespace_of(load_kube_settings(image="i", namespace="jobs"), "acme") == "jobs"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("worker_resources", '{"cpu": "2", "memory": "8Gb"}', "quantities like 500m"),
        ("worker_resources", '{"cpu": "2"}', "memory is missing"),
        ("worker_resources", "2 CPUs", "expected JSON"),
        ("namespace", "No_Good", "match pattern"),
        ("ray_version", "2.51.0", "2.52.0 or later"),
        ("submission_mode", "K8sJobMode", "HTTPMode"),
    ],
)
def test_bad_setting_is_named_with_what_was_expected(monkeypatch, name: str, value: str, expected: str) -> None:
    monkeypatch.setenv("UDAIR_KUBE_IMAGE", "i")
    monkeypatch.setenv(f"UDAIR_KUBE_{name.upper()}", value)

    with pytest.raises(SettingsError, match=r"UDAIR_KUBE_") as caught:
        load_kube_settings()

    assert expected in str(caught.value)


def test_image_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"UDAIR_KUBE_IMAGE is not set; expected image of head and workers"):
        load_kube_settings()


def test_kubernetes_client_that_is_not_installed_is_named_with_its_extra(tmp_path) -> None:
    program = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from udair_platform.scheduler.launchers import make_launcher\n"
        "from udair_platform.settings import load_settings\n"
        f"make_launcher(load_settings(home={str(tmp_path)!r}, launcher='kuberay'))"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert "pip install 'udair[k8s]'" in ended.stderr


def test_settings_come_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("UDAIR_KUBE_IMAGE", "example.org/udair-jobs:1")
    monkeypatch.setenv("UDAIR_KUBE_WORKER_TOLERATIONS", json.dumps([TOLERATION]))
    monkeypatch.setenv("UDAIR_KUBE_NAMESPACE_PER_TENANT", "true")

    settings = load_kube_settings()

    assert settings.worker_tolerations == [TOLERATION]
    assert settings.namespace_per_tenant


def test_settings_hold_no_secret() -> None:
    assert not [name for name in KubeSettings.model_fields if re.search(r"password|token$|key$", name)]
