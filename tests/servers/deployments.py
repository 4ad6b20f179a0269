"""Deployments for tests of `udair deploy`: the example's settings with changes, and a cluster that they go to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubernetes_api import KubernetesDouble
from kubernetes_cluster import Cluster

K8S = Path(__file__).parents[2] / "k8s"
EXAMPLE = K8S / "settings.example.yaml"


def written(folder: Path, **changes: Any) -> Path:
    """The example with keys replaced; None removes one."""
    found = yaml.safe_load(EXAMPLE.read_text()) | changes
    path = folder / "deployment.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in found.items() if value is not None}))
    return path


@contextlib.contextmanager
def cluster_for(folder: Path) -> Iterator[Cluster]:
    """A cluster of its own, with the definitions of KubeRay and the Gateway API and no others."""
    with KubernetesDouble(folder) as double:
        made = Cluster(double.kubeconfig, folder, double)
        made.install_crds()
        made.install_gateway()
        yield made
