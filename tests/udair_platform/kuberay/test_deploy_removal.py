"""`udair deploy prune | delete`: what is no longer wanted goes, what holds data stays, and two platforms do not meet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deployments import EXAMPLE, cluster_for, written

from udair_platform.deploy.cluster import Cluster
from udair_platform.deploy.manifests import KINDS
from udair_platform.deploy.removal import delete, prune
from udair_platform.deploy.render import render
from udair_platform.deploy.settings import load

pytestmark = pytest.mark.k8s

FOUND = yaml.safe_load(EXAMPLE.read_text())
PLAIN = {"serving": FOUND["serving"] | {"head_fault_tolerance": False}}
TENANTS = {"jobs": FOUND["jobs"] | {"tenants": ["acme", "umbra"]}}
REDIS = {("StatefulSet", "udair-redis"), ("Service", "udair-redis"), ("PodDisruptionBudget", "udair-redis")}
REDIS |= {("NetworkPolicy", "redis-in"), ("NetworkPolicy", "redis-out")}


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with KubeRay's definitions and no others."""
    with cluster_for(tmp_path) as double:
        yield double


def applied(cluster: Cluster, path: Path):
    settings = load(path)
    made = render(settings)
    cluster.apply_all(made.ordered())
    return settings, made


def test_what_is_no_longer_rendered_is_named_then_deleted_and_what_holds_data_is_kept(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    settings, made = applied(cluster, written(tmp_path))
    assert prune(cluster, settings, made, really=True, with_data=True) == [], "all of it is wanted"
    settings, made = applied(cluster, written(tmp_path, **PLAIN))

    asked = prune(cluster, settings, made, really=False, with_data=False)
    assert {(one.kind, one.name) for one in asked} == REDIS
    assert {one.result for one in asked if one.kind == "StatefulSet"} == {"kept"}
    assert {one.result for one in asked if one.kind != "StatefulSet"} == {"to be deleted"}
    assert prune(cluster, settings, made, really=False, with_data=False) == asked, "asking deletes nothing"

    prune(cluster, settings, made, really=True, with_data=False)
    assert cluster.get("v1", "Service", "udair-redis", "udair") is None
    assert cluster.get("apps/v1", "StatefulSet", "udair-redis", "udair") is not None
    prune(cluster, settings, made, really=True, with_data=True)
    assert cluster.get("apps/v1", "StatefulSet", "udair-redis", "udair") is None
    assert list(cluster.diff(made.ordered())) == [], "what is wanted was left alone"


def test_a_tenant_that_is_taken_out_leaves_its_namespace_and_nothing_that_runs_in_it(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    applied(cluster, written(tmp_path, **TENANTS))
    settings, made = applied(cluster, written(tmp_path, jobs=FOUND["jobs"] | {"tenants": ["acme"]}))
    gone = prune(cluster, settings, made, really=True, with_data=False)
    assert {one.namespace for one in gone if one.kind != "Namespace"} == {"udair-t-umbra"}
    assert [(one.name, one.result) for one in gone if one.kind == "Namespace"] == [("udair-t-umbra", "kept")]
    assert cluster.get("v1", "ServiceAccount", "udair-job", "udair-t-acme") is not None


def test_two_platforms_share_a_cluster_and_nothing_else(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    _, made = applied(cluster, written(tmp_path, **TENANTS))
    second, also = applied(cluster, written(tmp_path, namespace="staging", **TENANTS))
    assert not made.keys() & also.keys()
    assert "udair-t-" not in also.yaml()
    assert "namespace: udair\n" not in also.yaml()
    assert {item["metadata"]["name"] for item in also.of_kind("Namespace")} == {
        "staging",
        "staging-t-acme",
        "staging-t-umbra",
    }
    assert also.get("ClusterRoleBinding", "staging-launcher")["roleRef"]["name"] == "staging-launcher"
    assert also.get("ClusterRole", "staging-launcher")
    scheduler = also.get("ConfigMap", "udair-scheduler")["data"]
    assert scheduler["UDAIR_KUBE_INSTANCE"] == "staging"

    delete(cluster, second, really=True, with_data=True)
    assert list(cluster.diff(made.ordered())) == [], "the other platform is as it was"
    assert delete(cluster, second, really=False, with_data=True) == []


def test_a_deletion_takes_the_jobs_and_leaves_what_cannot_be_made_again(empty, tmp_path: Path) -> None:
    cluster = Cluster(empty.kubeconfig)
    settings, _ = applied(cluster, written(tmp_path))
    labels = {"app.kubernetes.io/managed-by": "udair", "app.kubernetes.io/instance": "udair"}
    for name, instance in (("j-1-1", "udair"), ("j-2-1", "staging")):
        meta = {"name": name, "labels": labels | {"app.kubernetes.io/instance": instance}}
        body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": meta, "spec": {"entrypoint": "true"}}
        empty.custom.create_namespaced_custom_object("ray.io", "v1", "udair-jobs", "rayjobs", body)
    empty.core.create_namespaced_secret("udair", {"metadata": {"name": "udair-signing-key"}})

    done = delete(cluster, settings, really=True, with_data=False)
    kinds = [one.kind for one in done if one.result == "deleted"]
    assert kinds.index("Deployment") < kinds.index("RayJob") < kinds.index("RayService")
    assert [job["metadata"]["name"] for job in empty.rayjobs("udair-jobs")] == ["j-2-1"]
    assert cluster.get("v1", "Secret", "udair-signing-key", "udair") is not None
    assert {(one.kind, one.name) for one in done if one.result == "kept"} == {
        ("Namespace", "udair"),
        ("Namespace", "udair-jobs"),
        ("StatefulSet", "udair-redis"),
    }


def test_every_kind_that_is_ever_rendered_is_looked_for(tmp_path: Path) -> None:
    everything = {"monitoring": True, "database": "embedded"} | TENANTS
    kinds = {(item["kind"], item["apiVersion"]) for item in render(load(written(tmp_path, **everything))).objects}
    assert kinds <= set(KINDS.items())


def test_the_command_says_what_it_would_do_until_it_is_told_to(empty, tmp_path: Path) -> None:
    path = written(tmp_path)
    cluster = Cluster(empty.kubeconfig)
    applied(cluster, path)

    def run(verb: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "udair_platform.cli", "deploy", verb, "-f", str(path)]
        return subprocess.run([*command, "--kubeconfig", str(empty.kubeconfig), *more], capture_output=True, text=True)

    assert "nothing to delete" in run("prune", "--yes").stderr
    done = run("delete")
    assert "to be deleted" in done.stdout
    assert "--yes does it" in done.stderr
    assert cluster.get("apps/v1", "Deployment", "udair-api", "udair") is not None
    assert "--with-data" in run("delete", "--yes").stderr
    assert cluster.get("apps/v1", "Deployment", "udair-api", "udair") is None
