"""One trial of a sweep: a configuration in, running scores out. Imported by Ray's workers.

Axes: N pairs, C channels, H x W pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from ray import tune
from torch import Tensor

from udair.adaptation.adapter import Adapter, identity_adapter
from udair.adaptation.pairs import Pairs, run
from udair.adaptation.projection import align
from udair.adaptation.target import anchors_of, train_on
from udair.adaptation.test_time import TestTimeStream
from udair.bundle import Bundle, load_bundle
from udair.config import AlignmentConfig, ModelConfig, RecipeConfig, TestTimeConfig, TrainConfig
from udair.data.patches import PatchSource
from udair.errors import AdaptationError, ConfigError
from udair.metrics import psnr_db
from udair.training import SourceTrainer, validation_psnr_db
from udair_jobs.errors import JobError
from udair_jobs.images.datasets import load_images
from udair_jobs.images.snapshots import load_snapshot
from udair_jobs.published.base_models import local_folder
from udair_jobs.runtime.logs import quiet
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import PatientStorage, open_storage
from udair_jobs.sweep.problem import SweepProblem
from udair_jobs.sweep.specs import SweepKind, SweepSpec

PROBLEM = "problem.safetensors"
SNAPSHOT = "snapshot"
# What a trial reports, and how far it is: Ray prunes by the second.
SCORE, RUNG = "score_db", "rung"
CONFIGS: dict[SweepKind, type] = {
    "tta": TestTimeConfig,
    "alignment": AlignmentConfig,
    "recipe": RecipeConfig,
    "source": TrainConfig,
}

# Degraded images (N, 3, H, W) to restored ones (3, H, W), one after the other.
Restoration = Callable[[Tensor], Iterator[Tensor]]


def trial(values: dict[str, Any], *, document: dict[str, Any]) -> None:
    """Score one configuration.

    Args:
        values: Of the searched hyperparameters.
        document: A `SweepSpec` as a dictionary. It holds no credentials: Ray shows it to everybody.
    """
    quiet()
    set_threads()
    spec = SweepSpec.model_validate(document)
    started = time.monotonic()
    default = values == defaults(spec)
    try:
        for row in _validated(spec, values) if spec.kind == "source" else _restored(spec, values):
            tune.report(row | {"default": default, "seconds": round(time.monotonic() - started, 2)})
    except (AdaptationError, FloatingPointError) as error:
        # Not worth a retry: the same values would fail again.
        tune.report({SCORE: math.nan, RUNG: last_rung(spec), "default": default, "failure": str(error)})


def config_of(kind: SweepKind, values: dict[str, Any]) -> Any:
    """The configuration that a trial of `kind` with these values runs.

    Raises:
        JobError: INVALID_SPEC: a name is unknown, or a value out of range.
    """
    _check_names(kind, values)
    try:
        return CONFIGS[kind](**values)
    except (ConfigError, TypeError) as error:
        raise JobError("INVALID_SPEC", str(error)) from error


def defaults(spec: SweepSpec) -> dict[str, Any]:
    """What the searched hyperparameters are where nobody sets them."""
    _check_names(spec.kind, spec.space)
    config = config_of(spec.kind, spec.fixed)
    return {name: getattr(config, name) for name in spec.space}


def _check_names(kind: SweepKind, names: Iterable[str]) -> None:
    known = [item.name for item in fields(CONFIGS[kind])]
    for name in names:
        if name not in known:
            raise JobError("INVALID_SPEC", f"{kind} has no {name}; expected one of {', '.join(known)}.")


def last_rung(spec: SweepSpec) -> int:
    """What `rung` is in a trial's last report: one more than in the last that may be pruned."""
    steps: int = config_of(spec.kind, spec.fixed).steps if spec.kind == "source" else spec.pairs
    return steps + 1


def _restored(spec: SweepSpec, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    bundle, problem = _loaded(spec.base_uri, spec.output_uri, spec.store_endpoint_url)
    restoration = _restoration(spec, config_of(spec.kind, {**spec.fixed, **values}), bundle, problem)
    gains: list[float] = []
    for gain_db in _gains(restoration, problem.search):
        gains.append(gain_db)
        yield {SCORE: sum(gains) / len(gains), RUNG: len(gains)}
    check = list(_gains(restoration, problem.check))
    yield {
        SCORE: sum(gains) / len(gains),
        RUNG: last_rung(spec),
        "check_db": sum(check) / len(check),
        "check_each_db": check,
    }


def _gains(restoration: Restoration, pairs: Pairs) -> Iterator[float]:
    """PSNR over the source model's, dB, pair by pair."""
    source_db_N = psnr_db(pairs.source_NCHW, pairs.clean_NCHW)
    for number, restored_CHW in enumerate(restoration(pairs.degraded_NCHW)):
        # Both to bytes: so are the source model's answers.
        restored_1CHW = (restored_CHW[None] * 255).round() / 255
        yield float(psnr_db(restored_1CHW, pairs.clean_NCHW[number : number + 1])[0] - source_db_N[number])


def _restoration(spec: SweepSpec, config: Any, bundle: Bundle, problem: SweepProblem) -> Restoration:
    """What this configuration makes of the base model."""
    model, identity = bundle.model, identity_adapter(bundle.model, bundle.digest).row
    if spec.kind == "tta":

        def one_by_one(degraded_NCHW: Tensor) -> Iterator[Tensor]:
            stream = TestTimeStream(bundle, identity, config, spec.tone)
            for image in degraded_NCHW:
                yield run(model, image[None], stream.next(image), tone=spec.tone)[0]

        return one_by_one
    scope = problem.scope(identity)
    if spec.kind == "alignment":
        row, _ = align(problem.embedding_ND, bundle.stats, identity, config)
    else:
        generator = torch.Generator().manual_seed(config.seed)
        deadline = time.monotonic() + config.budget_s
        anchors = anchors_of(bundle, scope, config, generator, spec.tone)
        scenes = bundle.replay_train_NCHW.float() / 255
        row, _ = train_on(
            bundle,
            scenes,
            problem.degrade(spec.tone),
            problem.embedding_ND,
            anchors,
            config,
            deadline=deadline,
            generator=generator,
            tone=spec.tone,
        )
    row = Adapter(bundle.digest, row, tone=spec.tone).within(scope).row

    def in_parts(degraded_NCHW: Tensor) -> Iterator[Tensor]:
        for part in degraded_NCHW.split(4):
            yield from run(model, part, row, tone=spec.tone)

    return in_parts


def _validated(spec: SweepSpec, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train a source model with these values; scores are on held-out photographs."""
    config: TrainConfig = config_of(spec.kind, {**spec.fixed, **values})
    device = "cuda" if spec.use_gpu else "cpu"
    train, search, check = _photographs(
        device,
        spec.source_uri,
        spec.source_endpoint_url,
        spec.output_uri,
        spec.store_endpoint_url,
        spec.limits.model_dump_json(),
    )
    trainer = SourceTrainer(ModelConfig.named(spec.size), config, train, device)
    while trainer.progress < 1.0:
        trainer.step()
        if trainer.steps % spec.validation_every == 0 or trainer.progress >= 1.0:
            score_db = validation_psnr_db(trainer.averaged(), search)
            yield {SCORE: score_db, RUNG: trainer.steps}
    check_db = validation_psnr_db(trainer.averaged(), check)
    yield {SCORE: score_db, RUNG: last_rung(spec), "check_db": check_db, "check_each_db": [check_db]}


@lru_cache(maxsize=1)
def _loaded(base_uri: str, output_uri: str, endpoint_url: str | None) -> tuple[Bundle, SweepProblem]:
    """Once a process, which runs many trials."""
    with local_folder(base_uri, endpoint_url=endpoint_url) as folder:
        bundle = load_bundle(folder)
    store = PatientStorage(open_storage(output_uri, endpoint_url=endpoint_url))
    return bundle, SweepProblem.from_bytes(store.get(PROBLEM))


@lru_cache(maxsize=1)
def _photographs(
    device: str,
    source_uri: str,
    source_endpoint_url: str | None,
    output_uri: str,
    endpoint_url: str | None,
    limits: str,
) -> tuple[PatchSource, PatchSource, PatchSource]:
    """Those to train on, those that choose the best trial, and those that check it."""
    allowed = LimitsSpec.model_validate_json(limits)
    snapshot = load_snapshot(PatientStorage(open_storage(output_uri, endpoint_url=endpoint_url)).at(SNAPSHOT))
    assert snapshot is not None, "the driver takes the snapshot before it starts trials"
    source = PatientStorage(open_storage(source_uri, endpoint_url=source_endpoint_url))
    train = load_images(source, snapshot.split("adapt"), limits=allowed, max_images=100_000, max_held_bytes=4 * 2**30)
    held_out = load_images(source, snapshot.split("gate"), limits=allowed).images
    return PatchSource(train.images, device), PatchSource(held_out[::2], device), PatchSource(held_out[1::2], device)
