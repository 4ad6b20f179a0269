"""The Helm chart: its values are the settings of `udair deploy`, and what it makes is what that renders."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import udair
from udair_platform.deploy.manifests import Object
from udair_platform.deploy.render import render
from udair_platform.deploy.settings import DeploySettings

CHART = Path(__file__).parents[1] / "k8s" / "chart"
EXAMPLE = yaml.safe_load((CHART.parent / "settings.example.yaml").read_text())
HELM = shutil.which("helm") or shutil.which("helm", path=Path(sys.executable).parent)  # k8s/chart/get_helm.py
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is not on PATH (3.18 or later)")

SMALL = {
    "host": "u.example.com",
    "serve_host": "r.example.com",
    "ingress_class": "nginx",
    "store": {"uri": "s3://acme-udair/x"},
}
SMALL |= {"images": {"platform": "r.example.com/p:1", "worker": "r.example.com/w:1"}}
EVERYTHING = EXAMPLE | {
    "namespace": "staging",
    "gateway": {"name": "shared", "namespace": "infra"},
    "monitoring": True,
    "database": "embedded",
    "database_secret": "db",
    "storage_class": "gp3",
    "gpu_resource": "amd.com/gpu",
    "egress_ports": [3128, 443],
    "roles": {"api": "arn:aws:iam::1:role/a", "job": "arn:aws:iam::1:role/j", "serving": "arn:aws:iam::1:role/s"},
    "secrets_version": "7",
    "settings": {
        "AWS_REGION": "eu-central-1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.observability:4318",
        "UDAIR_OIDC_ISSUER": "https://id.example.com",
        "UDAIR_OIDC_AUDIENCE": "udair",
        "UDAIR_KUBE_PRIORITY_CLASS": "low",
        "UDAIR_SERVE_SLOTS": "64",
    },
    "serving": EXAMPLE["serving"] | {"min_replicas": 8, "node_selector": {"a": "b"}, "runtime_class": "rocm"},
    "jobs": EXAMPLE["jobs"] | {"tenants": ["acme", "umbra"], "runtime_class": "rocm", "on_spot": True},
}
CASES = {
    "example": EXAMPLE,
    "small": SMALL,
    "everything": EVERYTHING,
    "asleep": EXAMPLE | {"serving": EXAMPLE["serving"] | {"min_replicas": 0}},
    "alb": SMALL
    | {"ingress_class": "alb", "tls_secret": None, "ingress_cidr": "10.1.0.0/16", "ingress_annotations": {"a": "b"}}
    | {
        "namespaces": {"operator": "ray-system"},
        "store": {"uri": "s3://acme-udair/x", "endpoint_url": "http://minio:9000"},
    },
}


def values_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_values", CHART / "make_values.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def helm(folder: Path, values: dict[str, Any], *more: str) -> subprocess.CompletedProcess[str]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    namespace = values.get("namespace", "udair")
    command = [str(HELM), "template", "udair", str(CHART), "-n", namespace, "-f", str(path), *more]
    return subprocess.run(command, capture_output=True, text=True)


def compared(item: Object) -> Object:
    """`item` without what differs by nature: who manages it, digests, the spelling of YAML and JSON within."""
    item = deepcopy(item)
    meta = item["metadata"]
    meta["labels"].pop("app.kubernetes.io/managed-by")
    if item["kind"] == "Job":
        meta["name"] = re.sub("-[0-9a-f]{10}$", "", meta["name"])
        meta.pop("annotations", None)  # Helm's, of a hook
    if item["kind"] == "RayService":
        item["spec"]["serveConfigV2"] = yaml.safe_load(item["spec"]["serveConfigV2"])
    if item["kind"] == "ConfigMap":
        item["data"] = {key: json.loads(text) if text[:1] in "[{" else text for key, text in item["data"].items()}
    return json.loads(re.sub(r'("udair/settings": )"[0-9a-f]{16}"', r'\1"a digest"', json.dumps(item)))


def keyed(items: list[Object]) -> dict[tuple[str, str, str], Object]:
    found = [compared(item) for item in items]
    return {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in found}


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_the_chart_makes_what_deploy_renders(tmp_path: Path, case: str) -> None:
    values = CASES[case]
    done = helm(tmp_path, values)
    assert done.returncode == 0, done.stderr
    made = keyed([item for item in yaml.safe_load_all(done.stdout) if item])
    wanted = keyed(render(DeploySettings.model_validate(values)).objects)
    # Helm, or whoever puts the Secrets there, makes the namespace of the release.
    del wanted["Namespace", "", values.get("namespace", "udair")]
    assert made.keys() == wanted.keys()
    for key, item in wanted.items():
        assert made[key] == item, key


@needs_helm
def test_a_change_of_settings_is_a_change_of_the_pods(tmp_path: Path) -> None:
    def digests(**changes: Any) -> list[str]:
        return re.findall(r"udair/settings: (\w+)", helm(tmp_path, EXAMPLE | changes).stdout)

    before = digests()
    assert len(before) == 5  # API, scheduler, head, backbones, the service itself
    assert digests() == before
    assert all(old != new for old, new in zip(before, digests(secrets_version="2"), strict=True))


@needs_helm
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hots": "x"}, "hots"),
        ({"host": "no host"}, "host"),
        ({"images": {"platform": "udair", "worker": "udair:1"}}, "platform"),
        ({"store": {"uri": "/a/folder"}}, "uri"),
    ],
)
def test_values_are_checked_by_their_schema(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    done = helm(tmp_path, EXAMPLE | changes)
    assert done.returncode != 0
    assert said in done.stderr
    assert "schema" in done.stderr


@needs_helm
def test_a_release_elsewhere_than_the_values_say_is_refused(tmp_path: Path) -> None:
    done = helm(tmp_path, EXAMPLE, "-n", "elsewhere")
    assert "helm install -n udair" in done.stderr


def test_values_schema_and_lists_are_those_of_the_code() -> None:
    for name, text in values_script().files().items():
        assert (CHART / name).read_text() == text, f"{name}: python k8s/chart/make_values.py"


def test_values_alone_are_the_defaults_of_a_deployment() -> None:
    given = {
        "host": SMALL["host"],
        "serve_host": SMALL["serve_host"],
        "images": SMALL["images"],
        "store": SMALL["store"],
    }
    values = yaml.safe_load((CHART / "values.yaml").read_text()) | {"ingress_class": "x"} | given
    assert DeploySettings.model_validate(values) == DeploySettings.model_validate(given | {"ingress_class": "x"})


def test_the_chart_is_of_this_version() -> None:
    found = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (found["version"], found["appVersion"]) == (udair.__version__, udair.__version__)


def test_the_chart_reads_the_manifests_themselves() -> None:
    for name in ("base", "components"):
        for path in (CHART.parent / name).rglob("*.yaml"):
            inside = CHART / "files" / path.relative_to(CHART.parent)
            assert inside.read_bytes() == path.read_bytes(), inside
