"""A cluster for the contract suite, and launchers over it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_api import KubernetesDouble
from kubernetes_cluster import Cluster, real_kubeconfig
from kubernetes_operator import OperatorDouble

from udair_platform.scheduler.launchers.kuberay.api import connect
from udair_platform.scheduler.launchers.kuberay.informer import Pace
from udair_platform.scheduler.launchers.kuberay.launcher import KubeRayLauncher
from udair_platform.scheduler.launchers.kuberay.settings import load_kube_settings
from udair_platform.settings import load_settings

QUICK = Pace(watch_s=2, resync_s=60, first_wait_s=0.05, longest_wait_s=0.2)
MakeLauncher = Callable[..., KubeRayLauncher]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The double, or the cluster of UDAIR_TEST_KUBECONFIG; with KubeRay's definitions."""
    folder = tmp_path_factory.mktemp("kubernetes")
    if (kubeconfig := real_kubeconfig()) is not None:
        real = Cluster(kubeconfig, folder)
        if os.environ.get("UDAIR_TEST_INSTALL_CRDS") == "1":
            real.install_crds()
        assert real.has_crds(), "the cluster has no ray.io/v1; UDAIR_TEST_INSTALL_CRDS=1 installs KubeRay's CRDs"
        yield real
        real.clean()
        return
    with KubernetesDouble(folder) as double:
        made = Cluster(double.kubeconfig, folder, double)
        made.install_crds()
        yield made


@pytest.fixture
def double(cluster: Cluster) -> KubernetesDouble:
    """The server itself, for what cannot be done to a real one."""
    if cluster.double is None:
        pytest.skip("done to the double only")
    return cluster.double


@pytest.fixture
def empty_double(tmp_path: Path, cluster: Cluster) -> Iterator[KubernetesDouble]:
    """A server without KubeRay's definitions."""
    if cluster.double is None:
        pytest.skip("done to the double only")
    with KubernetesDouble(tmp_path) as server:
        yield server


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test, which lets in only pods of the level ``restricted``."""
    yield cluster.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"})
    cluster.clean()


@pytest.fixture
def operator(cluster: Cluster, namespace: str) -> OperatorDouble:
    """What the operator would do, where there is none."""
    if cluster.operated:
        pytest.skip("a real operator acts here")
    return cluster.operator(namespace)


@pytest.fixture
def make_launcher(tmp_path: Path, cluster: Cluster) -> Iterator[MakeLauncher]:
    """Builds launchers: make(namespace, platform settings…, kube={settings of the cluster})."""
    made: list[KubeRayLauncher] = []

    def make(namespace: str, *, kube: dict[str, Any] | None = None, patience_s: float = 60.0, **platform: Any) -> Any:
        chosen = {"namespace": namespace, "image": "example.org/udair-jobs:1", "kubeconfig": cluster.kubeconfig}
        settings = load_kube_settings(**{**chosen, **(kube or {})})
        api = connect(settings)
        api.away_s = 0.0
        launcher = KubeRayLauncher(
            load_settings(home=tmp_path, **platform),
            settings,
            api,
            hopeless_after_s=patience_s,
            pace=QUICK,
        )
        made.append(launcher)
        return launcher

    yield make
    for launcher in made:
        launcher.close()


@pytest.fixture
def launcher(make_launcher: MakeLauncher, namespace: str) -> KubeRayLauncher:
    """A launcher into the test's namespace."""
    return make_launcher(namespace)
