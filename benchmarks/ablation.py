"""What each part of the method is worth: one part off in turn.

python benchmarks/ablation.py --data data --json benchmarks/results/ablation.json

Parts that act in training (codebook, CSCL plain or covariance-space, FiLM) are ablated on small models
trained side by side for the same number of steps on the same patches. Parts that act in adaptation (DAM's
projection, CORAL, the noise estimate and its parts, FiLM deltas, readout) are ablated on adapters of one round for the
base model; the rounds that a job makes its adapter of (`recipe`) are left out of it one by one. What the gate catches
and refuses without each of its grounds is in `gate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from models import base, psnr
from photographs import folder
from report import Figure, arguments, publish
from torch import Tensor, nn
from worlds import World, worlds

from udair.adaptation.fitting import CROP, EMBED_CROPS, TRAINED, fit_adapter, fit_with_labels
from udair.adaptation.flat_bank import FLATTEST, OWN, mean_row, over, rows_of
from udair.adaptation.pairs import Degrade, as_the_source, crop_scenes, run
from udair.adaptation.phase_state import PhaseState
from udair.adaptation.recipe import adapt
from udair.bundle import Bundle
from udair.config import ModelConfig, RecipeConfig, TrainConfig
from udair.data.degradations import FAMILIES
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.data.tasks import CLASSES, make_batch
from udair.estimation.noise import NoiseBank, noise_bank
from udair.metrics import psnr_db
from udair.models.codebook import Quantised
from udair.models.modulation import Modulation
from udair.training import SourceTrainer

CONFIG = ModelConfig("ablation", (24, 48, 64), (1, 1, 1), codes=64, code_dim=32, embedder_width=24)
WORLDS = ("camera_iso1600", "camera_iso3200", "camera_iso6400", "camera_soft_iso3200")


class _NoCodes(nn.Module):
    """Latents pass through unquantised."""

    def forward(self, latent_BDhw: Tensor) -> Quantised:
        batch, _, height, width = latent_BDhw.shape
        indices = torch.zeros(batch, height, width, dtype=torch.long)
        return Quantised(latent_BDhw, indices, torch.ones(batch, 1), latent_BDhw.new_zeros(()))


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    steps = 60 if options.quick else 400
    images = folder(options.data, "test/CBSD68/target"), folder(options.data, "test/Kodak24/target")
    figures: dict[str, Figure] = {}
    variants: dict[str, tuple[TrainConfig, Callable[[SourceTrainer], None]]] = {
        "full": (_config(steps), lambda trainer: None),
        "no_codebook": (_config(steps), _without_codebook),
        "no_cscl": (replace(_config(steps), contrast_weight=0.0), lambda trainer: None),
        "covariance_cscl": (replace(_config(steps), covariance_contrast=0.5), lambda trainer: None),
        "no_film": (_config(steps), _without_film),
    }
    for name, (config, change) in variants.items():
        psnr_mean, probe = _train(images, config, change)
        figures[f"train_{name}_psnr_db"] = Figure(round(psnr_mean, 3), "dB, all tasks")
        figures[f"train_{name}_probe"] = Figure(round(probe, 4), "share")
        print(f"train {name:18} {psnr_mean:6.2f} dB  probe {probe:.3f}", flush=True)
    bundle = base(options.base)
    chosen = worlds(options.data, side=160, test=8, seed=options.seed)
    names = WORLDS[:1] if options.quick else WORLDS
    rows = [_adapt(bundle, world, options.quick) for world in chosen if world.name in names]
    for name in rows[0]:
        figures[f"adapt_{name}_gain_db"] = Figure.mean_of([row[name] for row in rows], "dB", seed=options.seed)
    if options.picture:
        from pictures import effects

        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        effects(options.picture, means, "full", "mean true gain of an ungated adapter, dB")
    publish("ablation", figures, options, base={"name": bundle.name, "digest": bundle.digest}, worlds=list(names))


def _config(steps: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, minutes=60, batch=16, patch=64, finish_share=0.0, learning_rate=1.2e-3, warm_steps=60
    )


def _without_codebook(trainer: SourceTrainer) -> None:
    for model in (trainer.model, trainer.ema):
        model.restorer.degradation.codebook = _NoCodes()


def _without_film(trainer: SourceTrainer) -> None:
    for name, parameter in trainer.model.named_parameters():
        if ".film." in name:
            parameter.requires_grad_(False)


@torch.no_grad()
def _score(trainer: SourceTrainer, images: tuple) -> tuple[float, float]:
    """Mean PSNR over the tasks on unseen photographs, and accuracy of a linear probe on pooled codes."""
    model = trainer.averaged()
    shares = {name: float(name in FAMILIES) for name in CLASSES}
    sides = []
    for seed, side in enumerate(images):
        drawn = make_batch(PatchSource(side), 600, 96, torch.Generator().manual_seed(seed), shares)
        embedding = torch.cat([model.embed(part).embedding_BD for part in drawn.degraded_BCHW.split(50)])
        sides.append((drawn, embedding))
    (first, train), (second, test) = sides
    restored = run(model, second.degraded_BCHW[:240:2], None, batch=40, tone="restore")
    quality = float(psnr_db(restored, second.clean_BCHW[:240:2]).mean())
    targets = torch.nn.functional.one_hot(first.label_B, len(CLASSES)).float()
    design = torch.cat([(train - train.mean(0)) / (train.std(0) + 1e-4), torch.ones(len(train), 1)], 1)
    unseen = torch.cat([(test - train.mean(0)) / (train.std(0) + 1e-4), torch.ones(len(test), 1)], 1)
    ridge = torch.linalg.solve(design.T @ design + torch.eye(design.shape[1]), design.T @ targets)
    return quality, float(((unseen @ ridge).argmax(1) == second.label_B).float().mean())


def _train(
    images: tuple,
    config: TrainConfig,
    change: Callable[[SourceTrainer], None],
) -> tuple[float, float]:
    # Trained on one set of photographs and scored on the other: neither belongs to a base model.
    trainer = SourceTrainer(CONFIG, config, PatchSource(images[0]))
    change(trainer)
    while trainer.progress < 1:
        trainer.step()
    return _score(trainer, images)


def _adapt(bundle: Bundle, world: World, quick: bool) -> dict[str, float]:
    """True gain of ungated adapters of one world, with one part of the adaptation off in turn."""
    config = RecipeConfig(steps=20) if quick else RecipeConfig(steps=60)
    generator = torch.Generator().manual_seed(config.seed)
    crops = PatchSource(world.adapt).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        embedding = bundle.model.embed(crops).embedding_BD.float()
    replay = bundle.replay_train_NCHW.float() / 255
    inputs = to_tensor(world.inputs)
    before = np.mean([psnr(to_array(i), t) for i, t in zip(run(bundle.model, inputs, None), world.truths, strict=True)])
    bank, wide = (noise_bank(world.adapt, share) for share in FLATTEST)
    assert bank is not None
    assert wide is not None

    def fit(degrade: Degrade, without: tuple[str, ...] = (), coral: float | None = None) -> Modulation:
        def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            return degrade(crop_scenes(replay, batch, patch, generator), generator)

        kept = {name: rate for name, rate in TRAINED.items() if name not in without}
        changed = config if coral is None else replace(config, coral_weight=coral)
        seed = torch.Generator().manual_seed(config.seed)
        return fit_adapter(bundle.model, draw, embedding, changed, generator=seed, trained=kept)[0]

    rows = {
        "full": fit(over(bank)),
        "quarter_of_the_patches": fit(over(wide)),
        "no_estimate": fit(as_the_source("keep")),
        "white_noise": fit(_white(bank)),
        "one_level": fit(_one_level(bank)),
        "no_dam_projection": fit(over(bank), ("projection_BDD", "bias_BD")),
        "no_code_offsets": fit(over(bank), ("codes_BKD",)),
        "no_coral": fit(over(bank), coral=0.0),
        "no_film": fit(over(bank), ("film_BF",)),
        "no_readout": fit(over(bank), ("readout_BOC",)),
        **_rounds(bundle, world, config),
        "oracle": fit_with_labels(bundle, world.adapt, world.adapt_truths, config, world.tone),
    }
    gains = {}
    for name, row in rows.items():
        after = [psnr(to_array(i), t) for i, t in zip(run(bundle.model, inputs, row), world.truths, strict=True)]
        gains[name] = float(np.mean(after) - before)
    print(f"adapt {world.name:18} " + "  ".join(f"{name} {gain:+.2f}" for name, gain in gains.items()), flush=True)
    return gains


class _Kept:
    """Remembers what a phase made, for whoever asks afterwards."""

    def __init__(self) -> None:
        self.states: dict[str, PhaseState] = {}

    def load(self, phase: str) -> PhaseState | None:
        return self.states.get(phase)

    def save(self, phase: str, state: PhaseState) -> None:
        self.states[phase] = state


def _rounds(bundle: Bundle, world: World, config: RecipeConfig) -> dict[str, Modulation]:
    """The adapter that a job would make, and what it would be with one of its rounds left out."""
    kept = _Kept()
    adapt(bundle, world.adapt, world.gate, config, tone=world.tone, states=kept)
    rows = rows_of(kept.states["ADAPTING"])
    own = rows.pop(OWN)
    made = {
        "recipe": mean_row([mean_row(list(rows.values())), own]),
        "recipe_no_own_pictures": mean_row([*rows.values()]),
    }
    for name in rows:
        others = [row for other, row in rows.items() if other != name]
        made[f"recipe_no_{name.replace(' ', '_').replace('%', '')}"] = mean_row([mean_row(others), own])
    return made


def _white(bank: NoiseBank) -> Degrade:
    """The bank's levels without its covariance."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.randn(clean_NCHW.shape, generator=generator)
        return (clean_NCHW + bank.levels(clean_NCHW) * noise).clamp(0, 1), clean_NCHW

    return degrade


def _one_level(bank: NoiseBank) -> Degrade:
    """The bank's covariance at its typical level, whatever the brightness."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = bank.fields(len(clean_NCHW), *clean_NCHW.shape[2:], generator)
        return (clean_NCHW + bank.level * noise).clamp(0, 1), clean_NCHW

    return degrade


if __name__ == "__main__":
    main()
