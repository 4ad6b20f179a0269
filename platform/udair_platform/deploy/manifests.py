"""The manifests of `k8s/`, as they are shipped: read, found by kind and name, written in one order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
# Every kind there is, and what serves it. Dependencies first: a namespace before what is in it, settings before readers.
KINDS = {
    "Namespace": "v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "ResourceQuota": "v1",
    "LimitRange": "v1",
    "ServiceAccount": "v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "ConfigMap": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Service": "v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "Deployment": "apps/v1",
    "RayService": "ray.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "Ingress": "networking.k8s.io/v1",
    "Gateway": "gateway.networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "ServiceMonitor": "monitoring.coreos.com/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}


def folder() -> Path:
    """Where the manifests are: beside the package in a checkout, inside it in a wheel."""
    inside = Path(str(resources.files("udair_platform.deploy"))) / "k8s"
    return inside if inside.exists() else Path(__file__).parents[3] / "k8s"


class Manifests:
    """Objects of a deployment.

    Args:
        objects: Kubernetes objects.
    """

    def __init__(self, objects: Iterable[Object]) -> None:
        self.objects = list(objects)

    def keys(self) -> set[tuple[str, str, str]]:
        """Kind, namespace and name of each."""
        return {
            (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in self.objects
        }

    @classmethod
    def read(cls, *names: str) -> Manifests:
        """Those of the folders `names` of `k8s/`, as their kustomizations list them, without patches."""
        return cls(item for name in names for item in _read(folder() / name))

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """One object. Raises KeyError."""
        for item in self.objects:
            metadata = item["metadata"]
            if (item["kind"], metadata["name"]) == (kind, name) and namespace in (None, metadata.get("namespace")):
                return item
        raise KeyError(f"{kind} {name}")

    def of_kind(self, *kinds: str) -> Iterator[Object]:
        """Every object of those kinds."""
        return (item for item in self.objects if item["kind"] in kinds)

    def ordered(self) -> list[Object]:
        """In the order in which they are applied."""
        return sorted(self.objects, key=_place)

    def yaml(self) -> str:
        """All of it, the same for the same objects."""
        return yaml.safe_dump_all(self.ordered(), sort_keys=True, default_flow_style=False, width=120)


def digest(value: Any) -> str:
    """A short name for a value: another value has another one."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path) -> Iterator[Object]:
    listed = yaml.safe_load((path / "kustomization.yaml").read_text())
    for name in listed.get("resources", []):
        yield from (item for item in yaml.safe_load_all((path / name).read_text()) if item)
    for made in listed.get("configMapGenerator", []):
        files = (entry.partition("=")[::2] for entry in made["files"])
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": made["name"],
                "namespace": made["namespace"],
                "labels": dict(listed["generatorOptions"]["labels"]),
            },
            "data": {key: (path / name).read_text() for key, name in files},
        }


def _place(item: Object) -> tuple[int, str, str, str]:
    kind, metadata = item["kind"], item["metadata"]
    return list(KINDS).index(kind), kind, metadata.get("namespace", ""), metadata["name"]
