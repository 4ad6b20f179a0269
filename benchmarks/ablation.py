"""What each part of the method is worth: one part off in turn.

python benchmarks/ablation.py --data data --json benchmarks/results/ablation.json

Parts that act in training (codebook, CSCL plain or covariance-space, FiLM) are ablated on small models
trained side by side for the same number of steps on the same patches. Parts that act in adaptation (DAM's
projection, CORAL, matching, FiLM deltas, readout) are ablated on the base model's adapters, on shifted worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from adaptation import oracle_row
from models import base, psnr
from photographs import folder
from report import Figure, arguments, publish
from torch import Tensor, nn
from worlds import World, worlds

from udair.adaptation.fitting import TRAINED, fit_adapter
from udair.adaptation.matching import Matched, look, match
from udair.adaptation.pairs import crop_scenes, degrade_mixed, photos, run
from udair.adaptation.search import MATCH_SCENES
from udair.adaptation.target import CROP, EMBED_CROPS
from udair.bundle import Bundle
from udair.config import ModelConfig, RecipeConfig, TrainConfig
from udair.data.degradations import FAMILIES
from udair.data.patches import PatchSource, to_array, to_tensor
from udair.data.tasks import CLASSES, make_batch
from udair.metrics import psnr_db
from udair.models.codebook import Quantised
from udair.models.modulation import Modulation
from udair.training import SourceTrainer

CONFIG = ModelConfig("ablation", (24, 48, 64), (1, 1, 1), codes=64, code_dim=32, embedder_width=24)
# What is wrong with all of them may go while tone is kept: one intent for every row.
WORLDS = ("sigma75", "heavy_rain", "correlated_poisson", "jpeg_noise")


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
    config = RecipeConfig(steps=30, match_trials=100) if quick else RecipeConfig(steps=100, match_trials=400)
    generator = torch.Generator().manual_seed(config.seed)
    crops = PatchSource(world.adapt).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        embedding = bundle.model.embed(crops).embedding_BD.float()
    replay = bundle.replay_train_NCHW.float() / 255
    scenes = crop_scenes(replay, MATCH_SCENES, CROP, generator)
    matches = match(bundle.model, look(bundle.model, crops), scenes, trials=config.match_trials, generator=generator)
    inputs = to_tensor(world.inputs)
    before = np.mean([psnr(to_array(i), t) for i, t in zip(run(bundle.model, inputs, None), world.truths, strict=True)])

    def fit(found: list[Matched] | None, without: tuple[str, ...] = (), coral: float | None = None) -> Modulation:
        def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            clean = crop_scenes(replay, batch, patch, generator)
            if found is None:  # no matching: the source's own degradations, at random
                drawn = make_batch(photos(clean), batch, patch, generator, tone="keep")
                return drawn.degraded_BCHW, drawn.clean_BCHW
            return degrade_mixed(found, clean, generator, jitter=0.05, tone="keep")

        kept = {name: rate for name, rate in TRAINED.items() if name not in without}
        changed = config if coral is None else replace(config, coral_weight=coral)
        seed = torch.Generator().manual_seed(config.seed)
        return fit_adapter(bundle.model, draw, embedding, changed, generator=seed, trained=kept)[0]

    rows = {
        "full": fit(matches),
        "no_matching": fit(None),
        "no_dam_projection": fit(matches, ("projection_BDD", "bias_BD")),
        "no_code_offsets": fit(matches, ("codes_BKD",)),
        "no_coral": fit(matches, coral=0.0),
        "no_film": fit(matches, ("film_BF",)),
        "no_readout": fit(matches, ("readout_BOC",)),
        "oracle": oracle_row(bundle, world, config),
    }
    gains = {}
    for name, row in rows.items():
        after = [psnr(to_array(i), t) for i, t in zip(run(bundle.model, inputs, row), world.truths, strict=True)]
        gains[name] = float(np.mean(after) - before)
    print(f"adapt {world.name:18} " + "  ".join(f"{name} {gain:+.2f}" for name, gain in gains.items()), flush=True)
    return gains


if __name__ == "__main__":
    main()
