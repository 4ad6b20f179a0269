"""RayJobs on a real Ray head with token authentication: the operator's double submits them over HTTP, as KubeRay does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_attempt import ID, REQUEST
from kubernetes_cluster import wait_for
from ray_nodes import ray_nodes

from udair_platform.entities.job import JobState
from udair_platform.scheduler.launcher import LaunchRequest, LaunchState

pytestmark = pytest.mark.slow
FAST_JOB = Path(__file__).parents[2] / "servers" / "fast_job.py"


class Head:
    """A head's Jobs API, as the operator uses it in HTTPMode."""

    def __init__(self, url: str) -> None:
        from ray.job_submission import JobSubmissionClient

        from udair_platform.scheduler.launchers.ray import auth_headers

        self.jobs = JobSubmissionClient(url, headers=auth_headers())
        self._submitted: set[str] = set()

    def run(self, job: dict[str, Any]) -> str:
        """Submit the RayJob once; then its end, or "" before that."""
        spec = job["spec"]
        if spec["jobId"] not in self._submitted:
            self._submitted.add(spec["jobId"])
            self.jobs.submit_job(
                entrypoint=spec["entrypoint"],
                submission_id=spec["jobId"],
                entrypoint_num_cpus=spec.get("entrypointNumCpus", 0),
            )
        status = self.jobs.get_job_status(spec["jobId"])
        return status.value if status.is_terminal() else ""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head node that belongs to this module."""
    with pytest.MonkeyPatch.context() as environment:
        with ray_nodes(tmp_path_factory.mktemp("ray") / "ray.log", head_cpus=2) as nodes:
            for name, value in nodes.environment.items():
                environment.setenv(name, value)
            yield Head(nodes.dashboard_url)


def test_job_becomes_a_version_on_a_real_head(head: Head, plane, make_launcher, cluster, operator, tmp_path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAST_JOB}" "$@"\n')
    python.chmod(0o755)
    launcher = make_launcher(operator.namespace, job_python=str(python))
    reconciler = plane.restarted(launcher=launcher)
    job = plane.submit(plane.domain())

    def turn() -> bool:
        reconciler.tick()
        operator.work(head.run)
        return bool(plane.job(job.id).done)

    assert wait_for(turn, within_s=120)
    assert (plane.job(job.id).state, plane.job(job.id).version) == (JobState.SUCCEEDED, 1)


def test_output_and_failure_of_the_entrypoint_reach_ray(head: Head, make_launcher, operator) -> None:
    launcher = make_launcher(operator.namespace, job_python="echo")
    launcher.launch(REQUEST)
    failing = LaunchRequest("j-bad-1", "s3://b/s", None, "acme")
    make_launcher(operator.namespace, job_python="false").launch(failing)

    assert wait_for(lambda: operator.work(head.run) or launcher.status(ID) is LaunchState.SUCCEEDED, within_s=90)
    assert "udair_jobs.adapt_domain spec=s3://store/t/acme/spec.json" in head.jobs.get_job_logs(ID)
    assert wait_for(lambda: operator.work(head.run) or launcher.status("j-bad-1") is LaunchState.FAILED, within_s=90)


def test_stop_reaches_the_process_through_the_operator(head: Head, make_launcher, operator, tmp_path) -> None:
    python, ready, mark = (tmp_path / name for name in ("python", "ready", "mark"))
    python.write_text(
        f"#!/bin/bash\ntrap 'echo heeded; echo heeded > {mark}; exit 3' TERM\necho > {ready}\nsleep 100 & wait\n"
    )
    python.chmod(0o755)
    launcher = make_launcher(operator.namespace, job_python=str(python))
    stopping = LaunchRequest("j-stop-1", "s3://b/s", None, "acme")
    launcher.launch(stopping)
    assert wait_for(lambda: operator.work(head.run) or ready.exists(), within_s=90)

    launcher.stop("j-stop-1")
    head.jobs.stop_job("j-stop-1")  # what KubeRay does before it lets go of the RayJob
    operator.reap()

    assert wait_for(mark.exists, within_s=30)
    assert launcher.status("j-stop-1") is LaunchState.UNKNOWN
