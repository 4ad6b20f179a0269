"""Where things are in the platform's store. Keys are relative to its URI."""

from __future__ import annotations

ROUTES = "serving/routes.json"
ROUTE_SHARDS = "serving/routes"
SPEC, PROGRESS, CURVES, RESULT, LOG = "spec.json", "progress.json", "curves.json", "result.json", "job.log"
CANDIDATE, EVIDENCE, METRICS, MATCH = "candidate", "evidence.json", "metrics.json", "match.json"
SUMMARY = "summary.json"
PROFILE = "profile.json"
REPORTS = "serving/reports"
TRIALS = "trials"


def sweeps(tenant: str) -> str:
    """Where a tenant's sweeps are looked for: each a folder, the `output_uri` of `udair_jobs.sweep`."""
    return f"sweeps/{tenant}"


def batches(tenant: str) -> str:
    """Where a tenant's batch restorations are looked for: each a folder, the `kept_uri` of `udair_jobs.restore_batch`."""
    return f"batches/{tenant}"


def domain(tenant: str, name: str) -> str:
    """Everything of one domain."""
    return f"t/{tenant}/d/{name}"


def images(tenant: str, name: str) -> str:
    """Images uploaded by a customer who has no bucket."""
    return f"{domain(tenant, name)}/images"


def snapshot(tenant: str, name: str, snapshot_id: str) -> str:
    """One snapshot."""
    return f"{domain(tenant, name)}/snapshots/{snapshot_id}"


def attempt(tenant: str, name: str, job_id: str, number: int) -> str:
    """One attempt: its spec, progress, result, log and candidate."""
    return f"{domain(tenant, name)}/jobs/{job_id}/attempts/{number}"


def checkpoints(tenant: str, name: str, job_id: str) -> str:
    """Phases that attempts of one job have finished."""
    return f"{domain(tenant, name)}/jobs/{job_id}/checkpoints"


def route_shard(name: str, generation: int, digest: str) -> str:
    """One shard of routes.json; the same key is the same bytes."""
    return f"{ROUTE_SHARDS}/{name}-{generation}-{digest}.json"


def report(replica: str) -> str:
    """What one replica of the data plane says of its domains."""
    return f"{REPORTS}/{replica}.json"


def trials(tenant: str) -> str:
    """Pictures that people of a tenant have tried: kept for a while, each in a folder."""
    return f"{TRIALS}/{tenant}"


def prediction(tenant: str, name: str, prediction_id: str) -> str:
    """One restoration that was asked for in the background: its input, state and output."""
    return f"{domain(tenant, name)}/predictions/{prediction_id}"
