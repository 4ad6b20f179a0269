"""Chunks of a batch to Ray workers, and their rows back; workers may die on the way."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from udair_jobs.errors import JobError, last_line
from udair_jobs.restore_batch.report import BatchReport
from udair_jobs.restore_batch.rows import BatchRow
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.reporting import Reporter

if TYPE_CHECKING:
    from udair_jobs.restore_batch.worker import BatchItem

log = logging.getLogger(__name__)

# Chunks that a worker has at the same time: one computes, the other's files travel.
IN_FLIGHT = 2


def restore(
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
    return interruptible(lambda: Dispatcher(spec, recipe, workers, report, reporter).run(items))


class Dispatcher:
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
        """Restore all of `items`; seconds from the first worker's readiness."""
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
