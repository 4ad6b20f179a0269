"""Images per second of `restore_batch` beside the raw forward pass on tensors that are in memory already.

python benchmarks/batch.py --json benchmarks/results/batch.json

Two workers of one thread each, everywhere. Images are read from an S3 endpoint of our own with 20 ms of
latency (`stub_s3.py`) and written to a local disk. `raw` is two processes that call `udair.inference.restore`
on preloaded tensors and drop the result. `batch` is the job as people run it, timed from the first
worker's readiness; `batch_without_scores` leaves out NIQE; `ray_data` is the same worker class driven by
Ray Data's actor pool instead of the job's dispatcher.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from ingest import endpoint
from PIL import Image
from report import Figure, arguments, publish
from stub_s3 import BUCKET

from udair.bundle import load_bundle
from udair.data.images import decode
from udair.data.patches import to_tensor
from udair.data.scenes import dead_leaves
from udair.inference import restore
from udair.models.served import as_served
from udair.weights import packaged
from udair_jobs.restore_batch.job import restore_batch
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.restore_batch.worker import BatchItem, BatchWorker
from udair_jobs.storage import open_storage

WORKERS, LATENCY_MS, BASE = 2, 20, "base"
WIDTH, HEIGHT = 480, 320


def main() -> None:
    options = arguments(__doc__ or "")
    count, repeats = (16, 1) if options.quick else (256, 3)
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "RAY_AUTH_MODE": "disabled"}
    os.environ["OMP_NUM_THREADS"] = "1"
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_images(folder / "images", count, options.seed)
        with endpoint(folder / "images", LATENCY_MS) as url:
            import ray

            ray.init(address="local", num_cpus=2 * WORKERS, include_dashboard=False, log_to_driver=False)
            for repeat in range(repeats):
                for name in ("raw", "batch", "batch_without_scores", "ray_data"):
                    print(f"{name} {repeat + 1}", file=sys.stderr, flush=True)
                    spec = BatchSpec(
                        source_uri=f"s3://{BUCKET}/images",
                        source_endpoint_url=url,
                        base_uri=f"packaged:{BASE}",
                        output_uri=str(folder / f"{name}{repeat}"),
                        workers=WORKERS,
                        chunk=8,
                        scores=name != "batch_without_scores",
                    )
                    if name == "raw":
                        rate = _raw(folder / "images")
                    elif name == "ray_data":
                        rate = _ray_data(spec, count)
                    else:
                        rate = _batch(spec, count)
                    rates.setdefault(name, []).append(rate)
            ray.shutdown()
    figures = {f"{name}_images_per_s": Figure.median_of(found, "1/s") for name, found in rates.items()}
    for name in ("batch", "batch_without_scores", "ray_data"):
        ratios = [ours / raw for ours, raw in zip(rates[name], rates["raw"], strict=True)]
        judged = (0.85, 0.95) if name == "batch" else (None, None)
        spread = round((max(ratios) - min(ratios)) / 2, 3)
        figures[f"{name}_over_raw_forward"] = Figure(round(median(ratios), 3), "times", *judged, spread)
    publish("batch", figures, options, images=count, size=[WIDTH, HEIGHT], base=BASE, workers=WORKERS)


def _batch(spec: BatchSpec, count: int) -> float:
    result = restore_batch(spec)
    if result.restored != count:
        raise SystemExit(f"{result.restored} of {count} images were restored: {result.detail}")
    return count / result.restoring_s


def _ray_data(spec: BatchSpec, count: int) -> float:
    import ray

    source = open_storage(spec.source_uri, endpoint_url=spec.source_endpoint_url)
    items = [{"item": BatchItem(item.key, item.etag, item.size, item.key)} for item in source.list()]

    class Worker:
        def __init__(self) -> None:
            self._worker = BatchWorker(spec.model_dump(), "bench")

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            began = time.time()
            rows = self._worker.restore(list(batch["item"])).rows
            return {
                "state": [row.state for row in rows],
                "began": [began] * len(rows),
                "ended": [time.time()] * len(rows),
            }

    ray.data.DataContext.get_current().enable_progress_bars = False
    data = ray.data.from_items(items, override_num_blocks=count // spec.chunk)
    rows = data.map_batches(
        Worker, batch_size=spec.chunk, num_cpus=1, compute=ray.data.ActorPoolStrategy(size=WORKERS)
    ).take_all()
    if sum(row["state"] == "RESTORED" for row in rows) != count:
        raise SystemExit(f"of {count} images Ray Data restored {len(rows)}")
    return count / (max(row["ended"] for row in rows) - min(row["began"] for row in rows))


def _raw(folder: Path) -> float:
    """Both processes forward their half between two barriers."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WORKERS + 1)
    paths = sorted(folder.iterdir())
    processes = [context.Process(target=_forward, args=(paths[n::WORKERS], barrier)) for n in range(WORKERS)]
    for process in processes:
        process.start()
    barrier.wait()
    began = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - began
    for process in processes:
        process.join()
    return len(paths) / seconds


def _forward(paths: Sequence[Path], barrier: Any) -> None:
    torch.set_num_threads(1)
    model = as_served(load_bundle(packaged(BASE)).model)
    tensors = [to_tensor([decode(path.read_bytes())])[0] for path in paths]
    restore(model, tensors[0])
    barrier.wait()
    for tensor in tensors:
        restore(model, tensor)
    barrier.wait()


def _write_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    scene = dead_leaves(1, WIDTH, seed=seed)[0][:HEIGHT]
    for number in range(count):
        Image.fromarray(np.roll(scene, 3 * number, axis=(0, 1))).save(folder / f"{number:05}.jpg", quality=95)


if __name__ == "__main__":
    main()
