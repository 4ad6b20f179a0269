"""Restore every image of a prefix into another prefix, under the same names."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from udair.errors import AdapterError
from udair_jobs.errors import AccessDenied, CandidateError, JobError, NotFound, last_line
from udair_jobs.published.base_models import digest_at, local_folder
from udair_jobs.published.candidates import verify_candidate
from udair_jobs.restore_batch.report import BatchReport
from udair_jobs.restore_batch.rows import BatchRow
from udair_jobs.restore_batch.specs import BatchResult, BatchSpec
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.reporting import Reporter
from udair_jobs.storage import ObjectInfo, PatientStorage, Role, Storage, open_storage

if TYPE_CHECKING:
    from udair_jobs.restore_batch.worker import BatchItem

log = logging.getLogger(__name__)

FOLDER = "_udair"
RESULT = "result.json"
# Chunks that a worker has at the same time: one computes, the other's files travel.
IN_FLIGHT = 2


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
    reporter = Reporter(folder, {"VALIDATING": 3, "LISTING": 5, "RESTORING": 90, "EXPORTING": 2})
    reporter.report("VALIDATING")
    base_digest, adapter_digest = _digests(spec)
    recipe = _recipe(spec, base_digest, adapter_digest)
    report = BatchReport(folder)
    reporter.report("LISTING")
    items, done = _items(source, output, spec, report, recipe)
    report.add(done)
    restoring_s = 0.0
    try:
        if items:
            restoring_s = _restore(spec, recipe, items, report, reporter, cancellation)
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
    folder.put(RESULT, result.model_dump_json(indent=2).encode())
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
    with tempfile.TemporaryDirectory(prefix="udair-") as scratch:
        folder = local_folder(spec.base_uri, Path(scratch), endpoint_url=spec.store_endpoint_url)
        base_digest = digest_at(folder, spec.base_uri)
    if spec.adapter_uri is None:
        return base_digest, None
    store = PatientStorage(open_storage(spec.adapter_uri, endpoint_url=spec.store_endpoint_url))
    try:
        return base_digest, verify_candidate(store, base_digest=base_digest).digest
    except (CandidateError, AdapterError) as error:
        raise JobError("INVALID_SPEC", f"adapter_uri: {error}") from error


def _recipe(spec: BatchSpec, base_digest: str, adapter_digest: str | None) -> str:
    decides = {
        "base": base_digest,
        "adapter": adapter_digest,
        "format": spec.format,
        "quality": spec.quality,
        "tile": spec.tile,
        "overlap": spec.overlap,
        "test_time": asdict(spec.test_time) if spec.test_time.steps else None,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def _items(
    source: Storage, output: Storage, spec: BatchSpec, report: BatchReport, recipe: str
) -> tuple[list[BatchItem], list[BatchRow]]:
    """What to restore, and the rows of what an earlier run restored from the very same object."""
    from udair_jobs.restore_batch.worker import BatchItem

    try:
        listed = [item for item in source.list() if not item.key.endswith("/")]
    except (NotFound, AccessDenied) as error:
        raise JobError("ACCESS_DENIED", f"cannot list the images: {error}") from error
    if not listed:
        raise JobError("DATA_EMPTY", f"{source.uri} holds no object; expected images below it.")
    if len(listed) > spec.limits.max_images:
        raise JobError(
            "INVALID_SPEC",
            f"{source.uri} holds {len(listed)} objects; expected at most limits.max_images, "
            f"{spec.limits.max_images}. Raise it, or restore prefix by prefix.",
        )
    in_place = {item.key: item.etag for item in output.list()} if report.earlier else {}
    items: list[BatchItem] = []
    done: list[BatchRow] = []
    for item, target in zip(listed, _targets(listed, spec), strict=True):
        known = report.earlier.get(target)
        same = known is not None and (known.key, known.source_etag) == (item.key, item.etag)
        if known is None or known.recipe != recipe:
            items.append(BatchItem(item.key, item.etag, item.size, target))
        elif same and known.state == "SKIPPED":
            done.append(known)
        elif not known.done or in_place.get(target) != known.output_etag:
            items.append(BatchItem(item.key, item.etag, item.size, target))
        elif same:
            done.append(replace(known, state="UNCHANGED"))
        else:
            items.append(BatchItem(item.key, item.etag, item.size, target, known))
    return items, done


def _targets(listed: Sequence[ObjectInfo], spec: BatchSpec) -> Iterator[str]:
    """Where each restored file goes: its own name, with the new format's ending.

    Where two would meet (a.jpg and a.bmp as PNG), both keep their whole names: a.jpg.png, a.bmp.png.
    """
    from udair.data.encoding import suffix_of

    suffix = suffix_of(spec.format)
    if suffix is None:
        yield from (item.key for item in listed)
        return
    short = [str(PurePosixPath(item.key).with_suffix(suffix)) for item in listed]
    counts = Counter(short)
    for item, name in zip(listed, short, strict=True):
        yield name if counts[name] == 1 else f"{item.key}{suffix}"


def _restore(
    spec: BatchSpec,
    recipe: str,
    items: Sequence[BatchItem],
    report: BatchReport,
    reporter: Reporter,
    cancellation: Cancellation,
) -> float:
    """Pass every item through a worker; seconds from the first worker's readiness."""
    workers = min(spec.workers, -(-len(items) // spec.chunk))
    start_ray(workers, cancellation)
    return interruptible(lambda: _Dispatcher(spec, recipe, workers, report, reporter).run(items))


class _Dispatcher:
    """Chunks to workers and rows back; a chunk whose worker died is tried again object by object."""

    def __init__(self, spec: BatchSpec, recipe: str, workers: int, report: BatchReport, reporter: Reporter) -> None:
        import ray

        from udair_jobs.restore_batch.worker import BatchWorker

        self._spec, self._report, self._reporter = spec, report, reporter
        actor: Any = ray.remote(BatchWorker)
        actor = actor.options(num_cpus=1, num_gpus=1 if spec.use_gpu else 0, max_restarts=-1, max_concurrency=IN_FLIGHT)
        self._workers = [actor.remote(spec.model_dump(), recipe) for _ in range(workers)]
        self._tries: Counter[str] = Counter()
        self._queue: deque[list[BatchItem]] = deque()
        self._flying: dict[Any, tuple[list[BatchItem], Any]] = {}
        self._recipe = recipe

    def run(self, items: Sequence[BatchItem]) -> float:
        import ray

        try:
            ray.wait([worker.ready.remote() for worker in self._workers], num_returns=1)
            started = time.monotonic()
            size = self._spec.chunk
            self._queue.extend(list(items[first : first + size]) for first in range(0, len(items), size))
            idle = deque(worker for _ in range(IN_FLIGHT) for worker in self._workers)
            finished = 0
            while self._queue or self._flying:
                while self._queue and idle:
                    chunk, worker = self._queue.popleft(), idle.popleft()
                    self._flying[worker.restore.remote(chunk)] = (chunk, worker)
                ready, _ = ray.wait(list(self._flying), num_returns=1)
                chunk, worker = self._flying.pop(ready[0])
                idle.append(worker)
                finished += self._landed(chunk, ready[0])
                self._reporter.report("RESTORING", finished / len(items), {"objects": finished})
            return time.monotonic() - started
        finally:
            for worker in self._workers:
                with suppress(Exception):
                    ray.kill(worker)

    def _landed(self, chunk: list[BatchItem], ref: Any) -> int:
        """Count a chunk's rows; how many objects are finished by it."""
        import ray

        try:
            answer = ray.get(ref)
        except ray.exceptions.RayError as error:
            return self._lost(chunk, last_line(error))
        if answer.stopped is not None:
            self._report.add(answer.rows)
            raise JobError(*answer.stopped)
        final: list[BatchRow] = []
        for item, row in zip(chunk, answer.rows, strict=True):
            if row.state == "FAILED" and self._again(item):
                continue
            final.append(row)
        self._report.add(final)
        return len(final)

    def _lost(self, chunk: list[BatchItem], why: str) -> int:
        log.warning("a worker was lost with %d objects: %s", len(chunk), why)
        given_up = [item for item in chunk if not self._again(item)]
        self._report.add(
            BatchRow(
                item.key,
                item.etag,
                item.size,
                output_key=item.output_key,
                recipe=self._recipe,
                reason="NODE_LOST",
                detail=f"its worker was lost {self._tries[item.key]} times ({why})"[:300],
            )
            for item in given_up
        )
        return len(given_up)

    def _again(self, item: BatchItem) -> bool:
        """Queue `item` by itself, unless it had all its tries."""
        self._tries[item.key] += 1
        if self._tries[item.key] > self._spec.retries:
            return False
        self._queue.append([item])
        return True


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
