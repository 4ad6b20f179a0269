"""What each worker of a source-training run does: its share of the images, steps, validations, checkpoints.

Imported by Ray's workers; the driver is `train_source`.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ray import train
from ray.train import Checkpoint, CheckpointUploadMode
from ray.train.torch import get_device, prepare_model

from udair.config import ModelConfig
from udair.data.patches import PatchSource
from udair.training import SourceTrainer
from udair_jobs.errors import JobError, NotFound, StorageError
from udair_jobs.images.datasets import load_images
from udair_jobs.images.manifests import Split
from udair_jobs.images.snapshots import load_snapshot
from udair_jobs.runtime.logs import quiet
from udair_jobs.runtime.results import to_json_lines
from udair_jobs.runtime.threads import set_threads
from udair_jobs.storage import PatientStorage, Storage, open_storage
from udair_jobs.train_source.specs import SCORE, TrainSpec
from udair_jobs.train_source.validation import Validation

log = logging.getLogger(__name__)

SNAPSHOT = "snapshot"
METRICS = "metrics.jsonl"


def train_worker(document: dict[str, Any]) -> None:
    """Train until the budget ends or the score stands still.

    Continues from the run's latest checkpoint, if there is one.

    Args:
        document: A `TrainSpec` as a dictionary. It holds no credentials: Ray shows it to everybody.
    """
    spec = TrainSpec.model_validate(document)
    context = train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    quiet()
    logging.getLogger().setLevel(logging.WARNING)  # Ray prints every figure of every worker at INFO
    set_threads()
    device = get_device()
    trainer = SourceTrainer(
        ModelConfig.named(spec.size),
        spec.train,
        PatchSource(images_of(spec, "adapt", rank, workers), device),
        device,
        rank,
        wrap=prepare_model,
    )
    held_out = images_of(spec, "gate", 0, 1) if rank == 0 and spec.validation_batches else []
    validation = Validation(
        PatchSource(held_out, device) if held_out else None,
        batches=spec.validation_batches,
        patience=spec.patience,
    )
    resumed = train.get_checkpoint()
    if resumed is not None:
        with resumed.as_directory() as folder:
            trainer.load(Path(folder))
            validation.load(Path(folder))
        print(f"worker {rank} continues from step {trainer.steps}", flush=True)  # Ray shows it to the driver
    metrics = MetricsLog(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url), trainer.steps)
    while trainer.progress < 1.0 and not validation.exhausted:
        figures = trainer.step()
        # The schedule follows the clock; workers that disagree on it would drift apart.
        trainer.spent_s = _largest(trainer.spent_s, device)
        if trainer.steps % spec.checkpoint_every == 0 or trainer.progress >= 1.0:
            score_db = _largest(validation.score(trainer.averaged()), device)
            validation.keep(score_db)
            figures |= {"steps": float(trainer.steps), "spent_s": trainer.spent_s, "progress": trainer.progress}
            figures["time"] = time.time()
            if math.isfinite(score_db):
                figures[SCORE] = score_db
            _report(trainer, validation, figures, rank)
            if rank == 0:
                metrics.add(figures)
                print(_line(figures), flush=True)
    if validation.exhausted:
        print(f"stopped at step {trainer.steps}: no better than {validation.best_db:.2f} dB since", flush=True)


class MetricsLog:
    """`metrics.jsonl`: one line of figures a checkpoint, oldest first, rewritten as the run advances.

    `time` is in seconds since 1970, `spent_s` what training steps took, validation not counted.

    What an attempt that died had written beyond the checkpoint that its successor continues from is
    dropped: those steps are taken again.
    """

    def __init__(self, output: Storage, steps: int) -> None:
        self._output = output
        try:
            lines = output.get(METRICS, max_bytes=64 * 2**20).decode().splitlines() if steps else []
        except NotFound:
            lines = []
        self._rows = [row for row in map(json.loads, lines) if row["steps"] <= steps]

    def add(self, figures: dict[str, float]) -> None:
        """Append a line; a store that is away for a moment costs a line's delay, never the run."""
        self._rows.append(figures)
        try:
            self._output.put(METRICS, to_json_lines(self._rows))
        except StorageError as error:
            log.warning("metrics not written: %s", error)


def images_of(spec: TrainSpec, split: Split, rank: int, workers: int) -> list[Any]:
    """This worker's share of one split of the snapshot; all of it where there are too few to share.

    Raises:
        JobError: DATA_UNREADABLE when none of its share is as it was in the snapshot.
    """
    store = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    snapshot = load_snapshot(store.at(SNAPSHOT))
    assert snapshot is not None, "the driver takes the snapshot before it starts workers"
    rows = snapshot.split(split)
    mine = rows[rank::workers] if len(rows) >= 2 * workers else rows
    source = PatientStorage(open_storage(spec.data_uri, endpoint_url=spec.data_endpoint_url))
    loaded = load_images(source, mine, limits=spec.limits, max_images=100_000, max_held_bytes=4 * 2**30)
    if mine and not loaded.images:
        raise JobError(
            "DATA_UNREADABLE",
            f"none of the {len(mine)} images of worker {rank} is as it was in the snapshot; "
            "train under a new output_uri.",
        )
    return list(loaded.images)


def _line(figures: dict[str, float]) -> str:
    held_out = f", held out {figures[SCORE]:.2f} dB" if SCORE in figures else ""
    return f"step {figures['steps']:.0f}  {100 * figures['progress']:3.0f} %  loss {figures['loss']:.4f}{held_out}"


def _largest(value: float, device: torch.device) -> float:
    if not torch.distributed.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return float(shared)


def _report(trainer: SourceTrainer, validation: Validation, figures: dict[str, float], rank: int) -> None:
    checkpoint = None
    if rank == 0:
        folder = Path(tempfile.mkdtemp(prefix="udair-"))  # Ray removes it when it is uploaded
        trainer.save(folder)
        validation.save(folder)
        checkpoint = Checkpoint.from_directory(folder)
    train.report(
        figures,
        checkpoint=checkpoint,
        # A unique name a step: a retry must not mix its files with those of the attempt that died.
        checkpoint_dir_name=f"step-{trainer.steps:08}",
        checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        delete_local_checkpoint_after_upload=True,
    )
