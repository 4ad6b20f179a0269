"""`udair deploy` against a cluster: applied, compared, looked at; and what is refused before a cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kubernetes_api import KubernetesDouble
from kubernetes_cluster import Cluster as ClusterOfTests

from udair_platform.deploy import render as rendering
from udair_platform.deploy.cluster import Cluster, ClusterError
from udair_platform.deploy.settings import load
from udair_platform.deploy.status import secrets_of
from udair_platform.deploy.status import status as look
from udair_platform.errors import SettingsError
from udair_platform.kubernetes.api import KubeApi
from udair_platform.kubernetes.connection import connection_by

K8S = Path(__file__).parents[3] / "k8s"
EXAMPLE = K8S / "settings.example.yaml"


def written(folder: Path, **changes) -> Path:
    """The example with keys replaced; None removes one."""
    found = yaml.safe_load(EXAMPLE.read_text()) | changes
    path = folder / "deployment.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not None}))
    return path


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with KubeRay's definitions and no others."""
    with KubernetesDouble(tmp_path) as double:
        made = ClusterOfTests(double.kubeconfig, tmp_path, double)
        made.install_crds()
        yield made


def test_what_is_rendered_is_the_same_every_time_and_has_every_image_and_host(tmp_path: Path) -> None:
    first, second = (rendering.render(load(EXAMPLE)).yaml() for _ in range(2))
    assert first == second
    objects = [item for item in yaml.safe_load_all(first) if item]
    assert objects[0]["kind"] == "Namespace"
    assert "udair.example.com" in first
    assert "image: udair-" not in first, "an image without a registry is one that was not replaced"
    kinds = {item["kind"] for item in objects}
    assert {"Deployment", "RayService", "Ingress", "NetworkPolicy", "Role", "ResourceQuota"} <= kinds


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
    assert "created" in deploy("apply", *there).stdout
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
