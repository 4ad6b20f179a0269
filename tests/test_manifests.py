"""The manifests: valid for Kubernetes 1.36 and KubeRay 1.7, restricted, without secrets, and alike however they are made."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_schema import OPERATORS, Definition, published_crd

from udair_platform.deploy.manifests import Manifests
from udair_platform.deploy.render import render
from udair_platform.deploy.settings import DeploySettings, load
from udair_platform.scheduler.launcher import LaunchRequest
from udair_platform.scheduler.launchers.kuberay.rayjob import rayjob
from udair_platform.scheduler.launchers.kuberay.rules import LAUNCHER_RULES
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings, load_kube_settings
from udair_platform.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
K8S = ROOT / "k8s"
OVERLAYS = ("local", "aws-gpu", "on-prem")
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def built(name: str) -> list[dict]:
    """The objects of an overlay, by kubectl; or of `udair deploy render`."""
    if name == "rendered":
        return render(load(K8S / "settings.example.yaml").model_copy(update={"monitoring": True})).objects
    if name.endswith(".md"):
        page = (ROOT / "docs" / "how-to" / name).read_text()
        (settings,) = re.findall(r"```yaml\n(host: .*?)```", page, re.S)
        return render(DeploySettings.model_validate(yaml.safe_load(settings))).objects
    if name == "ingress":
        changes = {"gateway": None, "ingress_class": "alb", "tls_secret": None, "monitoring": True}
        return render(load(K8S / "settings.example.yaml").model_copy(update=changes)).objects
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(K8S / "overlays" / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@pytest.fixture(scope="module", params=[*OVERLAYS, "rendered", "ingress", "eks.md", "k3s.md"])
def objects(request) -> list[dict]:
    return built(request.param)


def pods(objects: list[dict]):
    """Every pod's spec, with whose it is."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]
        if item["kind"] == "RayService":
            cluster = item["spec"]["rayClusterConfig"]
            yield "ray-head", cluster["headGroupSpec"]["template"]["spec"]
            for group in cluster["workerGroupSpecs"]:
                yield f"ray-{group['groupName']}", group["template"]["spec"]


def test_every_object_has_its_schemas_fields_and_no_others(objects: list[dict]) -> None:
    for item in objects:
        group, _, version = item["apiVersion"].rpartition("/")
        if group in OPERATORS:
            Definition(published_crd(f"{item['kind'].lower()}s", group), version).admit(item, strict=True)
        else:
            kubernetes_validate.validate(item, "1.36", strict=True)
    assert len(objects) > 25


def test_no_two_objects_have_one_name(objects: list[dict]) -> None:
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)


def test_every_pod_is_restricted_bounded_and_read_only(objects: list[dict]) -> None:
    found = dict(pods(objects))
    assert {"udair-api", "udair-scheduler", "ray-head", "ray-backbones"} <= found.keys()
    for name, spec in found.items():
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys(), name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name


def test_a_token_is_mounted_only_where_the_api_server_is_spoken_to(objects: list[dict]) -> None:
    mounted = {name for name, spec in pods(objects) if spec["automountServiceAccountToken"]}
    assert mounted - {"ray-head"} == {"udair-scheduler"}
    for item in objects:
        if item["kind"] == "ServiceAccount":
            assert item["automountServiceAccountToken"] is False
        if item["kind"] == "RayService":
            cluster = item["spec"]["rayClusterConfig"]
            assert cluster["enableInTreeAutoscaling"] is ("ray-head" in mounted)
            assert cluster["authOptions"] == {"mode": "token"}


def test_nothing_is_allowed_in_or_out_but_by_name(objects: list[dict]) -> None:
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    for namespace in ("udair", "udair-jobs"):
        default = next(
            item
            for item in policies
            if (item["metadata"]["namespace"], item["metadata"]["name"]) == (namespace, "default-deny")
        )
        assert default["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    dashboard = [
        (item["metadata"]["name"], rule["from"])
        for item in policies
        for rule in item["spec"].get("ingress", [])
        for port in rule.get("ports", [])
        if port["port"] == 8265
    ]
    assert len(dashboard) == 2
    for _, sources in dashboard:
        assert sources == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-operator"}}}]


def test_a_picture_that_is_tried_reaches_the_data_plane(objects: list[dict]) -> None:
    """Both ends must allow it: the API's pods out, the data plane's in, on the port that serves."""

    def admits(policy: dict, way: str, peers: str, peer: dict, port: int) -> bool:
        rules = policy["spec"].get(way, [])
        return any(
            peer in rule.get(peers, []) and port in [p["port"] for p in rule["ports"]]
            for rule in rules
            if "ports" in rule
        )

    def labelled(name: str) -> dict:
        return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}

    here = [i for i in objects if i["kind"] == "NetworkPolicy" and i["metadata"]["namespace"] == "udair"]
    api, serving = labelled("udair-api"), labelled("udair-serving")
    of_api = [policy for policy in here if policy["spec"]["podSelector"] == api["podSelector"]]
    of_serving = [policy for policy in here if policy["spec"]["podSelector"] == serving["podSelector"]]
    service = next(item for item in objects if item["kind"] == "RayService")
    containers = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"]
    port = next(p["containerPort"] for c in containers for p in c.get("ports", []) if p["name"] == "serve")
    assert any(admits(policy, "egress", "to", serving, port) for policy in of_api)
    assert any(admits(policy, "ingress", "from", api, port) for policy in of_serving)


def test_no_secret_is_written_here(objects: list[dict]) -> None:
    assert not [item for item in objects if item["kind"] == "Secret"]
    for item in objects:
        if item["kind"] == "ConfigMap" and "UDAIR" in str(item.get("data", {}))[:500]:
            for name in item["data"]:
                assert not re.search(r"PASSWORD|ACCESS_KEY$|_TOKEN$|DATABASE_URL", name), name


def test_every_setting_is_one_and_has_a_good_value(objects: list[dict], monkeypatch, tmp_path) -> None:
    for name in ("udair-settings", "udair-scheduler"):
        data = next(i for i in objects if i["kind"] == "ConfigMap" and i["metadata"]["name"] == name)["data"]
        for key, value in data.items():
            monkeypatch.setenv(key, value)
            field = key.removeprefix("UDAIR_KUBE_").removeprefix("UDAIR_").lower()
            assert key == "AWS_REGION" or field in {**Settings.model_fields, **KubeSettings.model_fields}, key
    monkeypatch.setenv("UDAIR_HOME", str(tmp_path))
    assert load_settings().launcher == "kuberay"
    assert load_kube_settings().namespace == "udair-jobs"


@needs_kubectl
def test_the_launcher_may_do_what_it_does_and_nothing_else() -> None:
    role = next(item for item in built("on-prem") if item["kind"] == "Role")
    granted = {(rule["apiGroups"][0], rule["resources"][0], verb) for rule in role["rules"] for verb in rule["verbs"]}
    assert granted == {(rule.group, rule.resource, verb) for rule in LAUNCHER_RULES for verb in rule.verbs}


@needs_kubectl
def test_kustomize_and_render_make_the_same_objects() -> None:
    wanted, kustomized = (
        {(i["kind"], i["metadata"].get("namespace"), i["metadata"]["name"]): i for i in built(name)}
        for name in ("ingress", "aws-gpu")
    )
    (migration,) = (key for key in wanted if key[0] == "Job")  # its name is its version's; kustomize has none
    assert wanted.keys() - {migration} == kustomized.keys()
    dashboards = [key for key in wanted if key[2].startswith("udair-dashboard-")]
    assert len(dashboards) == 4
    for key in dashboards:
        assert wanted[key]["data"] == kustomized[key]["data"]


def test_the_example_of_a_job_is_what_the_launcher_makes(tmp_path: Path) -> None:
    request = LaunchRequest(
        "j-5f0c1e2ab94d-1",
        "s3://udair/store/t/acme/d/foggy-cams/jobs/j-5f0c1e2ab94d/attempts/1/spec.json",
        tenant="acme",
    )
    kube = KubeSettings(
        image="registry.example.com/udair-worker:0.1.0", namespace="udair-jobs", service_account="udair-job"
    )
    made = rayjob(load_settings(home=tmp_path), kube, request)
    assert yaml.safe_load((K8S / "examples" / "rayjob.yaml").read_text()) == made


def test_the_manifests_travel_in_the_wheel() -> None:
    assert Manifests.read("base").objects
    text = (ROOT / "pyproject.toml").read_text()
    assert '"k8s" = "udair_platform/deploy/k8s"' in text
