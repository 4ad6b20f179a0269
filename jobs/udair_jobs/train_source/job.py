"""Train a base model on Ray Train and publish it, manifest last."""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udair.errors import BundleError, ConfigError
from udair.weights import MANIFEST, read_manifest
from udair_jobs.errors import JobCancelled, JobError, PreconditionFailed, last_line
from udair_jobs.images.snapshots import Snapshot, take_snapshot
from udair_jobs.published.base_models import local_folder, publish_base_model
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import Reason
from udair_jobs.storage import PatientStorage, Storage, arrow_filesystem, open_storage
from udair_jobs.train_source.specs import SCORE, TrainResult, TrainSpec

if TYPE_CHECKING:
    from ray.train import Checkpoint, Result

log = logging.getLogger(__name__)

BASE = "base"
CHECKPOINTS = "checkpoints"
RUN = "train"


def train_source(spec: TrainSpec, *, cancellation: Cancellation | None = None) -> TrainResult:
    """Snapshot, train, compute source statistics, publish.

    Safe to repeat: a run that was killed continues from its last checkpoint, and one that has
    published returns what it published. What is published is the checkpoint that restores held-out
    photographs best.

    Raises:
        JobError: INVALID_SPEC, ACCESS_DENIED, DATA_EMPTY, DATA_UNREADABLE, NAN_LOSS, or
            CONTROLLER_ERROR when workers fail more often than `max_failures`.
        StorageError: A store refuses or does not answer.
    """
    _check(spec)
    output = PatientStorage(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    source = PatientStorage(open_storage(spec.data_uri, endpoint_url=spec.data_endpoint_url))
    # Absolute from here on: workers run in folders of their own.
    spec = spec.model_copy(update={"output_uri": output.uri, "data_uri": source.uri})
    published = _published(output, spec)
    if published is not None:
        log.info("%s holds a finished base model already", published.base_uri)
        return published
    snapshot = take_snapshot(source, output.at("snapshot"), snapshot_id="train", limits=spec.limits)
    log.info("%d images to train on, %d skipped", snapshot.summary.images, snapshot.summary.skipped)
    if not snapshot.summary.gate_images:
        log.warning("too few photographs to hold one out: no validation, the last checkpoint is published")
        spec = spec.model_copy(update={"validation_batches": 0, "patience": 0})
    result = fit(spec, cancellation or Cancellation())
    _publish(spec, output, snapshot, result)
    made = _published(output, spec)
    assert made is not None, "publishing returned, so the manifest is there"
    return made


def fit(spec: TrainSpec, cancellation: Cancellation) -> Result:
    """Run the workers to the end of the budget; the result carries the last checkpoint.

    Uses the Ray cluster of RAY_ADDRESS, or one of its own on this machine.

    Raises:
        JobError: NAN_LOSS or CONTROLLER_ERROR.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from udair_jobs.train_source.loop import train_worker

    start_ray(spec.workers, cancellation)
    filesystem, path = arrow_filesystem(
        f"{spec.output_uri.rstrip('/')}/{CHECKPOINTS}", endpoint_url=spec.store_endpoint_url
    )
    filesystem.create_dir(path, recursive=True)
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=spec.model_dump(),
        scaling_config=ScalingConfig(
            num_workers=(spec.min_workers, spec.workers) if spec.min_workers else spec.workers,  # type: ignore[arg-type]
            use_gpu=spec.use_gpu,
        ),
        run_config=RunConfig(
            # The same name under the same path continues: that is what a repeated run wants.
            name=RUN,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=spec.max_failures),
            # The latest is kept beside the best.
            checkpoint_config=CheckpointConfig(
                num_to_keep=spec.keep_best,
                checkpoint_score_attribute=SCORE if spec.validation_batches else None,
            ),
        ),
    )
    try:
        return interruptible(trainer.fit)
    except JobCancelled as error:
        raise JobCancelled(f"training was asked to stop; {spec.output_uri} continues it.") from error
    except Exception as error:  # Ray wraps workers' errors in types of its own
        reason: Reason = "NAN_LOSS" if "FloatingPointError" in str(error) else "CONTROLLER_ERROR"
        raise JobError(reason, f"training failed: {last_line(error)}") from error


def _check(spec: TrainSpec) -> None:
    from udair.config import ModelConfig

    try:
        ModelConfig.named(spec.size)
    except ConfigError as error:
        raise JobError("INVALID_SPEC", str(error)) from error


def _publish(spec: TrainSpec, output: Storage, snapshot: Snapshot, result: Result) -> None:
    from udair.config import ModelConfig
    from udair.data.patches import PatchSource
    from udair.publishing import publish_bundle
    from udair.training import SourceTrainer
    from udair_jobs.train_source.loop import images_of

    checkpoint, figures = _best(result)
    set_threads()
    source = PatchSource(images_of(spec, "adapt", 0, 1))
    trainer = SourceTrainer(ModelConfig.named(spec.size), spec.train, source)
    with checkpoint.as_directory() as folder:
        trainer.load(Path(folder))
    metrics = {name: value for name, value in figures.items() if isinstance(value, float) and math.isfinite(value)}
    card = {
        "steps": trainer.steps,
        "seconds": round(trainer.spent_s, 1),
        "images": snapshot.summary.images,
        "snapshot_digest": snapshot.summary.digest,
        "workers": spec.workers,
        "train": asdict(spec.train),
        "metrics": metrics,
    }
    with tempfile.TemporaryDirectory(prefix="udair-") as folder:
        publish_bundle(
            Path(folder),
            spec.name,
            trainer.averaged(),
            source,
            replay_scenes=spec.replay_scenes,
            replay_side=spec.replay_side,
            statistics_batches=spec.statistics_batches,
            seed=trainer.config.seed,
            card=card,
        )
        try:
            publish_base_model(Path(folder), output.at(BASE))
        except PreconditionFailed:
            log.warning("another process published this run first; its base model stands")


def _best(result: Result) -> tuple[Checkpoint, dict[str, Any]]:
    """The checkpoint with the best validation and its figures; the last one where nothing was validated."""
    kept = result.best_checkpoints or []
    if not kept:
        raise JobError("CONTROLLER_ERROR", f"training ended without a checkpoint: {result.error}.")
    return max(kept, key=lambda item: (item[1].get(SCORE, -math.inf), item[1]["steps"]))


def _published(output: Storage, spec: TrainSpec) -> TrainResult | None:
    base = output.at(BASE)
    if not base.exists(MANIFEST):
        return None
    with local_folder(base.uri, endpoint_url=spec.store_endpoint_url) as folder:
        try:
            from udair.bundle import load_bundle

            digest = load_bundle(folder).digest  # hashes every file again
            manifest = read_manifest(folder)
        except BundleError as error:
            raise JobError("CONTROLLER_ERROR", f"the published base model is damaged: {error}") from error
    card = manifest["card"]
    return TrainResult(
        name=manifest["name"],
        digest=digest,
        base_uri=base.uri,
        steps=card["steps"],
        images=card["images"],
        metrics=card["metrics"],
    )
