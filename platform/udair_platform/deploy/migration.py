"""The Job that brings the database to a version's schema, before anything of that version starts."""

from __future__ import annotations

import time
from collections.abc import Callable

from udair_platform.deploy.cluster import Cluster, ClusterError
from udair_platform.deploy.manifests import Manifests, Object
from udair_platform.deploy.status import why_pods_wait

_LOOK_EVERY_S, _GONE_WITHIN_S = 1.0, 60.0


class MigrationFailed(ClusterError):
    """The database is as it was, and so is everything that runs on it."""

    code, title = "MIGRATION_FAILED", "The database was not migrated"


def forget_failed(cluster: Cluster, made: Manifests) -> None:
    """Delete a migration of this version that has failed: it is tried again by being made again."""
    for job in made.of_kind("Job"):
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        found = cluster.get("batch/v1", "Job", name, namespace)
        if found is not None and _ended(found, "Failed"):
            cluster.delete(found)
            ends = time.monotonic() + _GONE_WITHIN_S
            while cluster.get("batch/v1", "Job", name, namespace) is not None:
                if time.monotonic() >= ends:
                    raise MigrationFailed(
                        f"{name} has failed before and does not go: kubectl -n {namespace} delete job {name}"
                    )
                time.sleep(0.1)


def wait_for(cluster: Cluster, applied: Object, *, timeout_s: float, say: Callable[[str], None]) -> None:
    """Wait until the Job has done its work, and `say` what it waits for; any other object is ready at once.

    Raises:
        MigrationFailed: It has failed, or not ended within `timeout_s`.
    """
    if applied["kind"] != "Job":
        return
    name, namespace = applied["metadata"]["name"], applied["metadata"]["namespace"]
    ends, said = time.monotonic() + timeout_s, ""
    while True:
        found = cluster.get("batch/v1", "Job", name, namespace) or {}
        if _ended(found, "Complete"):
            return
        look = f"kubectl -n {namespace} logs job/{name}"
        if _ended(found, "Failed"):
            raise MigrationFailed(f"{name} has failed; API and scheduler are as they were. Look: {look}")
        why = "; ".join(cause for cause, _ in why_pods_wait(cluster, namespace, f"batch.kubernetes.io/job-name={name}"))
        if why and why != said:
            say(f"{name} waits: {why}")
            said = why
        if time.monotonic() >= ends:
            raise MigrationFailed(
                f"{name} has not ended within {timeout_s:g} s ({why or 'it runs'}); API and scheduler are as they were, "
                f"and it goes on. Look: {look}; then apply again, with a longer --timeout."
            )
        time.sleep(_LOOK_EVERY_S)


def _ended(job: Object, how: str) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(one["type"] == how and one["status"] == "True" for one in conditions)
