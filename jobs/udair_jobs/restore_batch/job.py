"""Restore every image of a prefix into another prefix, under the same names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from udair.errors import AdapterError
from udair_jobs.errors import CandidateError, JobError
from udair_jobs.published.base_models import digest_at, local_folder
from udair_jobs.published.candidates import verify_candidate
from udair_jobs.restore_batch.dispatcher import restore
from udair_jobs.restore_batch.plan import planned, recipe_of
from udair_jobs.restore_batch.report import BatchReport
from udair_jobs.restore_batch.rows import BatchRow
from udair_jobs.restore_batch.specs import BatchResult, BatchSpec
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.runtime.watching import on_stderr
from udair_jobs.specs import Phase
from udair_jobs.storage import PatientStorage, Role, Storage, open_storage

FOLDER = "_udair"
RESULT = "result.json"
SPEC = "spec.json"


def restore_batch(spec: BatchSpec, *, cancellation: Cancellation | None = None) -> BatchResult:
    """Restore what is below `source_uri` and not yet restored below `output_uri`.

    Safe to repeat: files that were restored from the same content by the same model, adapter and
    settings, and are still in place, are left alone.

    Returns:
        The result, as written to `_udair/result.json`; FAILED when some objects failed.

    Raises:
        JobError: INVALID_SPEC, DATA_EMPTY, ACCESS_DENIED, or CONTROLLER_ERROR when Ray does not start.
        StorageError: A store refuses or does not answer.
    """
    started = time.monotonic()
    cancellation = cancellation or Cancellation()
    role = Role(spec.source_role_arn, spec.source_external_id) if spec.source_role_arn else None
    source = PatientStorage(open_storage(spec.source_uri, endpoint_url=spec.source_endpoint_url, role=role))
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    _check_places(source, output)
    # Absolute from here on: workers run in folders of their own.
    spec = spec.model_copy(update={"source_uri": source.uri, "output_uri": output.uri})
    folder = output.at(FOLDER)
    kept = folder
    if spec.kept_uri is not None:
        kept = PatientStorage(open_storage(spec.kept_uri, endpoint_url=spec.store_endpoint_url))
        kept.put(SPEC, spec.model_dump_json(indent=2).encode())
    weights: dict[Phase, float] = {"VALIDATING": 3, "LISTING": 5, "RESTORING": 90, "EXPORTING": 2}
    reporter = Reporter(kept, weights, listener=on_stderr("objects"))
    reporter.report("VALIDATING")
    base_digest, adapter_digest = _digests(spec)
    recipe = recipe_of(spec, base_digest, adapter_digest)
    report = BatchReport(folder)
    reporter.report("LISTING")
    items, done = planned(source, output, spec, report, recipe)
    report.add(done)
    restoring_s = 0.0
    try:
        if items:
            restoring_s = restore(spec, recipe, items, report, reporter, cancellation)
    finally:
        report.flush()
    reporter.report("EXPORTING")
    rows = report.rows([item.key for item in items] + [row.key for row in done])
    rows.sort(key=lambda row: row.key)
    result = _result(rows, report.close(rows)).model_copy(
        update={
            "base_digest": base_digest,
            "adapter_digest": adapter_digest,
            "seconds": round(time.monotonic() - started, 3),
            "restoring_s": round(restoring_s, 3),
        }
    )
    reporter.report("EXPORTING", 1.0)
    for place in {folder.uri: folder, kept.uri: kept}.values():
        place.put(RESULT, result.model_dump_json(indent=2).encode())
    return result


def _check_places(source: Storage, output: Storage) -> None:
    inside = f"{output.uri}/".startswith(f"{source.uri}/")
    around = f"{source.uri}/".startswith(f"{output.uri}/")
    if inside or around:
        raise JobError(
            "INVALID_SPEC",
            f"output_uri {output.uri} and source_uri {source.uri} lie within each other: restored images would be "
            "restored again, or overwrite the originals. Choose a prefix beside the source.",
        )


def _digests(spec: BatchSpec) -> tuple[str, str | None]:
    """Of the base model and the adapter, which are verified before any worker starts."""
    with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
        base_digest = digest_at(folder, spec.base_uri)
    if spec.adapter_uri is None:
        return base_digest, None
    store = PatientStorage(open_storage(spec.adapter_uri, endpoint_url=spec.store_endpoint_url))
    try:
        return base_digest, verify_candidate(store, base_digest=base_digest).digest
    except (CandidateError, AdapterError) as error:
        raise JobError("INVALID_SPEC", f"adapter_uri: {error}") from error


def _result(rows: Sequence[BatchRow], report_uri: str) -> BatchResult:
    states = Counter(row.state for row in rows)
    failed = [row for row in rows if row.state == "FAILED"]
    why: dict[str, Any] = {"state": "SUCCEEDED"}
    if failed:
        why = {
            "state": "FAILED",
            "reason": "CONTROLLER_ERROR",
            "detail": f"{len(failed)} of {len(rows)} objects failed (first: {failed[0].key}: {failed[0].reason}: "
            f"{failed[0].detail}). Run the same command again: it tries those alone.",
        }
    return BatchResult(
        **why,
        objects=len(rows),
        restored=states["RESTORED"],
        unchanged=states["UNCHANGED"],
        skipped=states["SKIPPED"],
        skipped_by_reason=dict(sorted(Counter(row.reason for row in rows if row.state == "SKIPPED").items())),
        failed=states["FAILED"],
        report_uri=report_uri,
    )
