"""What each worker of a source-training run does: its share of the images, steps, checkpoints.

Imported by Ray's workers; the driver is `train_source`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from ray import train
from ray.train import Checkpoint
from ray.train.torch import get_device, prepare_model

from udair.config import ModelConfig, TrainConfig
from udair.data.patches import PatchSource
from udair.training import SourceTrainer
from udair_jobs.datasets import load_images
from udair_jobs.errors import JobError
from udair_jobs.logs import quiet
from udair_jobs.snapshots import load_snapshot
from udair_jobs.storage import PatientStorage, open_storage
from udair_jobs.threads import set_threads
from udair_jobs.train_specs import TrainSpec

SNAPSHOT = "snapshot"


def train_worker(document: dict[str, Any]) -> None:
    """Train until the budget ends; continues from the run's latest checkpoint, if there is one.

    Args:
        document: A `TrainSpec` as a dictionary. It holds no credentials: Ray shows it to everybody.
    """
    spec = TrainSpec.model_validate(document)
    context = train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    quiet()
    set_threads()
    device = get_device()
    trainer = SourceTrainer(
        ModelConfig.named(spec.size),
        TrainConfig(**spec.train),
        PatchSource(images_of(spec, rank, workers), device),
        device,
        rank,
        wrap=prepare_model,
    )
    resumed = train.get_checkpoint()
    if resumed is not None:
        with resumed.as_directory() as folder:
            trainer.load(Path(folder))
        print(f"worker {rank} continues from step {trainer.steps}", flush=True)  # Ray shows it to the driver
    figures: dict[str, float] = {}
    while trainer.progress < 1.0:
        figures = trainer.step()
        # The schedule follows the clock; workers that disagree on it would drift apart.
        trainer.spent_s = _largest(trainer.spent_s, device)
        if trainer.steps % spec.checkpoint_every == 0 and trainer.progress < 1.0:
            _report(trainer, figures, rank)
    _report(trainer, figures, rank)


def images_of(spec: TrainSpec, rank: int, workers: int) -> list[Any]:
    """This worker's share of the snapshot's images; all of them where there are too few to share.

    Raises:
        JobError: DATA_UNREADABLE when none of its share is as it was in the snapshot.
    """
    store = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    snapshot = load_snapshot(store.at(SNAPSHOT))
    assert snapshot is not None, "the driver takes the snapshot before it starts workers"
    rows = snapshot.rows.usable()
    mine = rows[rank::workers] if len(rows) >= 2 * workers else rows
    source = PatientStorage(open_storage(spec.data_uri, endpoint_url=spec.data_endpoint_url))
    loaded = load_images(source, mine, limits=spec.limits, max_images=100_000, max_held_bytes=4 * 2**30)
    if not loaded.images:
        raise JobError(
            "DATA_UNREADABLE",
            f"none of the {len(mine)} images of worker {rank} is as it was in the snapshot; "
            "train under a new output_uri.",
        )
    return list(loaded.images)


def _largest(value: float, device: torch.device) -> float:
    if not torch.distributed.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return float(shared)


def _report(trainer: SourceTrainer, figures: dict[str, float], rank: int) -> None:
    clock = {"steps": float(trainer.steps), "spent_s": trainer.spent_s, "progress": trainer.progress}
    with tempfile.TemporaryDirectory(prefix="udair-") as folder:
        checkpoint = None
        if rank == 0:
            trainer.save(Path(folder))
            checkpoint = Checkpoint.from_directory(folder)
        # A unique name a step: a retry must not mix its files with those of the attempt that died.
        train.report(figures | clock, checkpoint=checkpoint, checkpoint_dir_name=f"step-{trainer.steps:08}")
