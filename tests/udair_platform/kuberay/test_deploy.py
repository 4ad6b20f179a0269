"""`udair deploy` against a cluster: applied, compared, looked at; and what is refused before a cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deployments import EXAMPLE, cluster_for, written
from kubernetes_api import KubernetesDouble
from kubernetes_operator import OperatorDouble

from udair_platform.deploy import render as rendering
from udair_platform.deploy.cluster import Cluster, ClusterError
from udair_platform.deploy.settings import load
from udair_platform.deploy.status import secrets_of
from udair_platform.deploy.status import status as look
from udair_platform.errors import SettingsError
from udair_platform.kubernetes.api import KubeApi
from udair_platform.kubernetes.connection import connection_by


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with KubeRay's definitions and no others."""
    with cluster_for(tmp_path) as made:
        yield made


def test_what_is_rendered_is_the_same_every_time_and_has_every_image_and_host(tmp_path: Path) -> None:
    first, second = (rendering.render(load(EXAMPLE)).yaml() for _ in range(2))
    assert first == second
    objects = [item for item in yaml.safe_load_all(first) if item]
    assert objects[0]["kind"] == "Namespace"
    assert "udair.example.com" in first
    assert "image: udair-" not in first, "an image without a registry is one that was not replaced"
    kinds = {item["kind"] for item in objects}
    assert {"Deployment", "RayService", "HTTPRoute", "NetworkPolicy", "Role", "ResourceQuota"} <= kinds


def test_a_change_of_settings_is_a_change_of_the_pods_that_read_them(tmp_path: Path) -> None:
    def pods(path: Path) -> list[dict]:
        made = rendering.render(load(path))
        return [made.get("Deployment", name)["spec"]["template"] for name in ("udair-api", "udair-scheduler")]

    before, after = pods(EXAMPLE), pods(written(tmp_path, settings={"UDAIR_DRIFT_WINDOW_S": "60"}))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_tenants_have_namespaces_with_their_own_limits_and_the_launcher_one_watch(tmp_path: Path) -> None:
    jobs = {**yaml.safe_load(EXAMPLE.read_text())["jobs"], "tenants": ["acme", "umbra"]}
    made = rendering.render(load(written(tmp_path, jobs=jobs)))
    namespaces = {item["metadata"]["name"] for item in made.of_kind("Namespace")}
    assert namespaces == {"udair", "udair-t-acme", "udair-t-umbra"}
    for namespace in ("udair-t-acme", "udair-t-umbra"):
        for kind, name in (
            ("ResourceQuota", "jobs"),
            ("NetworkPolicy", "default-deny"),
            ("ServiceAccount", "udair-job"),
        ):
            assert made.get(kind, name, namespace)
        assert "watch" not in str(made.get("Role", "udair-launcher", namespace)["rules"])
    assert made.get("ClusterRole", "udair-launcher")["rules"][0]["verbs"] == ["list", "watch"]
    assert made.get("ConfigMap", "udair-scheduler")["data"]["UDAIR_KUBE_NAMESPACE_PER_TENANT"] == "true"


def test_policies_admit_neighbours_by_their_namespaces_and_let_out_what_settings_name(tmp_path: Path) -> None:
    changes = {
        "namespaces": {"operator": "ray-system", "ingress": "traefik"},
        "store": {"uri": "s3://acme/store", "endpoint_url": "https://minio.internal:9000"},
        "egress_ports": [3128],
        "settings": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.observability:4318"},
    }
    made = rendering.render(load(written(tmp_path, **changes)))
    text = str([policy["spec"] for policy in made.of_kind("NetworkPolicy")])
    assert "'ray-system'" in text
    assert "'traefik'" in text
    assert "kuberay-operator" not in text
    assert "ingress-nginx" not in text
    for name, namespace in (("https-out", "udair"), ("jobs", "udair-jobs")):
        (out,) = (
            rule
            for rule in made.get("NetworkPolicy", name, namespace)["spec"]["egress"]
            if any(peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0" for peer in rule["to"])
        )
        assert [port["port"] for port in out["ports"]] == [443, 3128, 4318, 9000]
        assert any(peer["ipBlock"]["cidr"] == "::/0" for peer in out["to"])


def test_a_load_balancer_outside_the_cluster_is_admitted_by_its_addresses(tmp_path: Path) -> None:
    made = rendering.render(load(written(tmp_path, gateway=None, ingress_class="alb", ingress_cidr="10.1.0.0/16")))
    for name in ("api-in", "serving-in"):
        peers = [peer for rule in made.get("NetworkPolicy", name)["spec"]["ingress"] for peer in rule["from"]]
        assert {"ipBlock": {"cidr": "10.1.0.0/16"}} in peers
        assert "envoy-gateway-system" not in str(peers)


def test_volumes_devices_and_regions_are_what_the_settings_say(tmp_path: Path) -> None:
    example = yaml.safe_load(EXAMPLE.read_text())
    changes = {
        "storage_class": "gp3",
        "database": "embedded",
        "gpu_resource": "amd.com/gpu",
        "serving": example["serving"] | {"runtime_class": "rocm"},
        "jobs": example["jobs"] | {"runtime_class": "rocm"},
        "settings": {"AWS_REGION": "eu-central-1"},
    }
    made = rendering.render(load(written(tmp_path, **changes)))
    claims = [claim for owner in made.of_kind("StatefulSet") for claim in owner["spec"]["volumeClaimTemplates"]]
    assert len(claims) == 2
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"gp3"}
    pod = made.get("RayService", "udair")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "1"
    assert pod["runtimeClassName"] == "rocm"
    assert made.get("ResourceQuota", "jobs")["spec"]["hard"]["requests.amd.com/gpu"] == "16"
    scheduler = made.get("ConfigMap", "udair-scheduler")["data"]
    environment = {name.removeprefix("UDAIR_KUBE_").lower(): value for name, value in scheduler.items()}
    assert environment["gpu_resource"] == "amd.com/gpu"
    assert environment["runtime_class"] == "rocm"
    assert environment["env"] == '{"AWS_REGION": "eu-central-1"}'


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({"max_concurrent": 14}, "jobs.quota.memory 256Gi holds 14 jobs"),
        ({"max_concurrent": 13}, "jobs.quota.cpu 64 holds 12 jobs of 1 workers and a head; jobs.max_concurrent is 13"),
        ({"gpus": 4}, "jobs.quota.gpus 16 is less than 8 jobs of 1 workers with 4 GPUs"),
    ],
)
def test_jobs_that_may_run_at_once_fit_into_the_quota(tmp_path: Path, jobs: dict, said: str) -> None:
    example = yaml.safe_load(EXAMPLE.read_text())["jobs"]
    if "memory" in said:
        jobs = jobs | {"quota": {"cpu": "640", "memory": "240Gi"}}
        said = "jobs.quota.memory 240Gi holds 13 jobs"
    with pytest.raises(SettingsError, match=said):
        load(written(tmp_path, jobs=example | jobs))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hots": "udair.example.com"}, "hots is no key of a deployment"),
        ({"host": None}, "host is missing"),
        ({"host": "no host"}, "host has value 'no host'"),
        ({"images": {"platform": "udair", "worker": "udair:1"}}, "images.platform has value 'udair'"),
        ({"settings": {"UDAIR_NONSENSE": "1"}}, "UDAIR_NONSENSE is no setting"),
        ({"settings": {"UDAIR_DATABASE_URL": "postgresql://x@y/z"}}, "UDAIR_DATABASE_URL is a secret"),
        ({"settings": {"UDAIR_OIDC_ISSUER": "https://me:hunter2@id.example.com"}}, "a password in a URL"),
        ({"ingress_annotations": {"note": "AKIAABCDEFGHIJKLMNOP"}}, "ingress_annotations.note holds an AWS access key"),
        ({"store": {"uri": "/a/folder"}}, "store.uri has value '/a/folder'"),
    ],
)
def test_bad_settings_are_named_with_what_was_expected(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        load(written(tmp_path, **changes))


def test_a_file_that_is_no_deployment_is_said(tmp_path: Path) -> None:
    for text, said in (("- 1", "holds list"), ("{", "no YAML")):
        (tmp_path / "d.yaml").write_text(text)
        with pytest.raises(SettingsError, match=said):
            load(tmp_path / "d.yaml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_it_is_applied_once_left_alone_and_changed_where_it_differs(empty, tmp_path: Path) -> None:
    path = written(tmp_path, monitoring=False)
    cluster = Cluster(empty.kubeconfig)
    made = rendering.render(load(path)).ordered()
    differences = list(cluster.diff(made))
    assert any(line.startswith("+kind: RayService") for line in differences)
    assert cluster.get("v1", "Namespace", "udair") is None, "a diff changes nothing"

    assert {cluster.apply(item)[0].result for item in made} == {"created"}
    assert {cluster.apply(item)[0].result for item in made} == {"unchanged"}
    assert list(cluster.diff(made)) == []
    more = rendering.render(load(written(tmp_path, monitoring=False, api={"replicas": 3}))).ordered()
    lines = [line for line in cluster.diff(more) if line[0] in "+-" and not line.startswith(("+++", "---"))]
    assert lines == ["-  replicas: 2", "+  replicas: 3"]
    changed = [done for item in more if (done := cluster.apply(item)[0]).result == "changed"]
    assert [(done.kind, done.name) for done in changed] == [("Deployment", "udair-api")]


def test_the_operator_may_have_been_there_between_two_applies(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    made = rendering.render(load(written(tmp_path, monitoring=False)))
    cluster.apply_all(made.ordered())
    OperatorDouble(empty.connection, "udair").adopt("udair")
    assert list(cluster.diff(made.ordered())) == []
    assert {done.result for done in cluster.apply_all(made.ordered())} == {"unchanged"}


def test_what_the_operator_writes_must_be_said_or_the_second_apply_is_in_conflict_with_it(
    empty, tmp_path: Path
) -> None:
    cluster = Cluster(empty.kubeconfig)
    made = rendering.render(load(written(tmp_path, monitoring=False)))
    del made.get("RayService", "udair")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["scaleStrategy"]
    cluster.apply_all(made.ordered())
    OperatorDouble(empty.connection, "udair").adopt("udair")
    with pytest.raises(ClusterError, match=r"kuberay-operator. using ray.io/v1: .*workerGroupSpecs"):
        cluster.apply_all(made.ordered())


def test_nothing_is_written_if_anything_is_refused(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    cluster.apply_all(rendering.render(load(written(tmp_path, monitoring=False))).ordered())
    somebody = KubeApi(connection_by(empty.kubeconfig, None), "somebody")
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"maxUnavailable": 2}}
    budget["metadata"] = {"name": "udair-backbones", "namespace": "udair"}
    somebody.apply(somebody.resource("policy/v1", "PodDisruptionBudget"), budget, force=True)
    more = rendering.render(load(written(tmp_path, monitoring=False, api={"replicas": 3}))).ordered()
    with pytest.raises(ClusterError, match=r"Nothing was written.*somebody.*maxUnavailable.*--force-conflicts takes"):
        cluster.apply_all(more)
    assert cluster.get("apps/v1", "Deployment", "udair-api", "udair")["spec"]["replicas"] == 2
    assert "changed" in {done.result for done in cluster.apply_all(more, force=True)}


def test_fields_that_somebody_else_owns_are_a_conflict_until_they_are_taken(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    made = rendering.render(load(written(tmp_path, monitoring=False)))
    for item in made.ordered():
        cluster.apply(item)
    other = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "udair-api", "namespace": "udair"},
        "spec": {"replicas": 9},
    }
    somebody = KubeApi(connection_by(empty.kubeconfig, None), "somebody")
    somebody.apply(somebody.resource("apps/v1", "Deployment"), other, force=True)
    with pytest.raises(ClusterError, match="force-conflicts"):
        cluster.apply(made.get("Deployment", "udair-api"))
    assert cluster.apply(made.get("Deployment", "udair-api"), force=True)[0].result == "changed"


def test_a_cluster_without_kuberay_says_which_version_is_wanted(tmp_path: Path) -> None:
    with KubernetesDouble(tmp_path) as double:
        cluster = Cluster(double.kubeconfig)
        made = rendering.render(load(written(tmp_path, monitoring=False)))
        service = made.get("RayService", "udair")
        with pytest.raises(ClusterError, match=r"KubeRay 1\.7"):
            cluster.apply(service)


def test_status_is_a_checklist_that_fills_up(empty, tmp_path: Path) -> None:
    settings = load(written(tmp_path, monitoring=False))
    made = rendering.render(settings)
    cluster = Cluster(empty.kubeconfig)

    def states() -> dict[str, tuple[str, str]]:
        return {item.check: (item.state, item.message) for item in look(cluster, settings, made)}

    assert states()["objects"][0] == "FAIL"
    for item in made.ordered():
        cluster.apply(item)
    assert ("udair-jobs", "udair-s3") in secrets_of(settings), "jobs read one, too"
    for (namespace, name), keys in secrets_of(settings).items():
        assert states()[f"secret {namespace}/{name}"][0] == "FAIL"
        data = dict.fromkeys(keys, "eA==")
        empty.core.create_namespaced_secret(namespace, {"metadata": {"name": name}, "data": data})
    found = states()
    assert found["objects"][0] == "ok"
    assert {state for check, (state, _) in found.items() if check.startswith("secret")} == {"ok"}
    assert found["udair-api"] == ("waiting", "0 of 2 ready")
    assert found["serving"] == ("waiting", "the KubeRay operator has not looked at it; does it run?")

    pod = {
        "metadata": {"name": "udair-api-1", "labels": {"app.kubernetes.io/name": "udair-api"}},
        "spec": made.get("Deployment", "udair-api")["spec"]["template"]["spec"],
    }
    empty.core.create_namespaced_service_account("udair", {"metadata": {"name": "default"}})
    empty.core.create_namespaced_pod("udair", pod)
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    reported = {
        "containerStatuses": [
            {"name": "api", "ready": False, "state": waiting, "image": "x", "imageID": "", "restartCount": 0}
        ]
    }
    empty.core.patch_namespaced_pod_status("udair-api-1", "udair", {"status": reported})
    state, message = states()["udair-api"]
    assert state == "FAIL"
    assert "ImagePullBackOff no such image" in message


def test_the_command_line_renders_compares_applies_and_looks(empty, tmp_path: Path) -> None:
    path = written(tmp_path, monitoring=False)

    def deploy(verb: str, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "udair_platform.cli", "deploy", verb, "-f", str(path), *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    there = ("--kubeconfig", str(empty.kubeconfig))
    assert "kind: RayService" in deploy("render").stdout
    deploy("diff", *there, code=1)
    assert "created" in deploy("apply", "--timeout", "0", *there).stdout
    assert "nothing differs" in deploy("diff", *there).stderr
    assert "secret udair/udair-database" in deploy("status", *there, code=1).stdout
    path.write_text("hots: x")
    assert "hots is no key" in deploy("render", code=1).stderr


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_accepts_what_is_rendered(empty, tmp_path: Path) -> None:
    for namespace in ("udair", "udair-jobs"):
        empty.core.create_namespace({"metadata": {"name": namespace}})
    text = rendering.render(load(written(tmp_path, monitoring=False))).yaml()
    command = [
        "kubectl",
        "--kubeconfig",
        str(empty.kubeconfig),
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=false",
        "-f",
        "-",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
