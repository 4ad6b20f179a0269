"""The database first: `udair deploy apply` migrates by a Job, waits, and leaves what runs alone if that fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployments import EXAMPLE, cluster_for, written
from kubernetes import client

from udair_platform.deploy.cluster import Cluster
from udair_platform.deploy.migration import MigrationFailed, forget_failed, wait_for
from udair_platform.deploy.render import render
from udair_platform.deploy.settings import load

pytestmark = pytest.mark.k8s

IMAGES = yaml.safe_load(EXAMPLE.read_text())["images"]
NEWER = {"images": IMAGES | {"platform": "registry.example.com/udair-platform:0.2.0"}}


@pytest.fixture
def empty(tmp_path: Path):
    """A cluster of its own, with the definitions of KubeRay and the Gateway API and no others."""
    with cluster_for(tmp_path) as double:
        yield double


def migration(path: Path) -> str:
    (job,) = render(load(path)).of_kind("Job")
    return job["metadata"]["name"]


def end(cluster, name: str, how: str) -> None:
    """As the Job controller does."""
    condition = {
        "type": how,
        "status": "True",
        "reason": "x",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    jobs = client.BatchV1Api(cluster.connection)
    jobs.patch_namespaced_job_status(name, "udair", {"status": {"conditions": [condition]}})


@pytest.fixture
def deploy():
    """Starts an apply; one that still waits in the end is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, cluster) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "udair_platform.cli", "deploy", "apply", "-f", str(path)]
        command += ["--kubeconfig", str(cluster.kubeconfig)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def image(cluster) -> str | None:
    found = Cluster(cluster.kubeconfig).get("apps/v1", "Deployment", "udair-api", "udair")
    return found and found["spec"]["template"]["spec"]["containers"][0]["image"]


def appears(cluster, name: str) -> Any:
    ends = time.monotonic() + 60
    while not (found := Cluster(cluster.kubeconfig).get("batch/v1", "Job", name, "udair")):
        assert time.monotonic() < ends
        time.sleep(0.1)
    return found


def test_another_version_or_database_is_another_job_and_other_settings_are_not(tmp_path: Path) -> None:
    first = migration(EXAMPLE)
    assert first == migration(written(tmp_path, api={"replicas": 5}))
    assert first != migration(written(tmp_path, **NEWER))
    assert first != migration(written(tmp_path, secrets_version="2"))


def test_nothing_of_a_new_version_starts_before_the_database_is_migrated(empty, deploy, tmp_path: Path) -> None:
    path = written(tmp_path)
    Cluster(empty.kubeconfig).apply_all(render(load(path)).ordered())
    written(tmp_path, **NEWER)
    applying = deploy(path, empty)
    appears(empty, migration(path))
    assert image(empty) == IMAGES["platform"]
    end(empty, migration(path), "Complete")
    output, errors = applying.communicate(timeout=60)
    assert applying.returncode == 0, output + errors
    assert image(empty) == NEWER["images"]["platform"]


def test_a_migration_that_fails_leaves_what_runs_alone_and_is_made_again(empty, deploy, tmp_path: Path) -> None:
    path = written(tmp_path)
    Cluster(empty.kubeconfig).apply_all(render(load(path)).ordered())
    written(tmp_path, **NEWER)
    applying = deploy(path, empty)
    first = appears(empty, migration(path))["metadata"]["uid"]
    end(empty, migration(path), "Failed")
    _, errors = applying.communicate(timeout=60)
    assert applying.returncode == 1
    assert "API and scheduler are as they were" in errors
    assert image(empty) == IMAGES["platform"]

    forget_failed(Cluster(empty.kubeconfig), render(load(path)))
    applying = deploy(path, empty)
    assert appears(empty, migration(path))["metadata"]["uid"] != first
    end(empty, migration(path), "Complete")
    applying.communicate(timeout=60)
    assert applying.returncode == 0


def test_an_upgrade_is_taken_back_as_the_docs_say(empty, deploy, tmp_path: Path) -> None:
    def applied(**changes: Any) -> str:
        path = written(tmp_path, **changes)
        applying = deploy(path, empty)
        if (job := migration(path)) not in migrated:
            migrated.add(job)
            appears(empty, job)
            end(empty, job, "Complete")
        output, errors = applying.communicate(timeout=60)
        assert applying.returncode == 0, output + errors
        return output

    def schedulers() -> int:
        found = Cluster(empty.kubeconfig).get("apps/v1", "Deployment", "udair-scheduler", "udair")
        return found["spec"]["replicas"]

    migrated: set[str] = set()
    applied()
    applied(**NEWER)
    applied(**NEWER, scheduler={"replicas": 0})
    assert (image(empty), schedulers()) == (NEWER["images"]["platform"], 0)
    applied()
    assert (image(empty), schedulers()) == (IMAGES["platform"], 2)
    assert " changed" not in applied()


def test_whoever_waits_is_told_why(empty, tmp_path: Path) -> None:
    cluster, made = Cluster(empty.kubeconfig), render(load(written(tmp_path)))
    cluster.apply_all(made.ordered())
    (job,) = made.of_kind("Job")
    name = job["metadata"]["name"]
    empty.core.create_namespaced_service_account("udair", {"metadata": {"name": "default"}})
    labels = {"batch.kubernetes.io/job-name": name}
    pod = {"metadata": {"name": f"{name}-x", "labels": labels}, "spec": job["spec"]["template"]["spec"]}
    empty.core.create_namespaced_pod("udair", pod)
    state = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "udair-database" not found'}}
    shown = {"name": "migrate", "ready": False, "state": state, "image": "x", "imageID": "", "restartCount": 0}
    empty.core.patch_namespaced_pod_status(f"{name}-x", "udair", {"status": {"containerStatuses": [shown]}})
    said: list[str] = []
    with pytest.raises(MigrationFailed, match=r"not ended within 0\.1 s .*udair-database. not found"):
        wait_for(cluster, job, timeout_s=0.1, say=said.append)
    assert len(said) == 1
    assert "udair-database" in said[0]

    ending = threading.Timer(1.5, end, (empty, name, "Complete"))
    ending.start()
    wait_for(cluster, job, timeout_s=60, say=said.append)
    assert len(said) == 2, "the same is said once in a wait"
