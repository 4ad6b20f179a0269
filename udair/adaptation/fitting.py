"""Train one domain's adapter by gradient on pairs; the backbone stays frozen.

Axes: N target crops, B a batch, D code width.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from udair.bundle import Bundle
from udair.config import RecipeConfig, Tone
from udair.data.images import ImageArray
from udair.data.patches import PatchSource
from udair.errors import AdaptationError, OutOfTime
from udair.losses.coral import coral_distance, covariance
from udair.losses.restoration import restoration_loss
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer

# (batch, patch side, generator) to degraded and clean patches (B, 3, side, side).
Draw = Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]

CROP = 96  # side of the crops of a target that are embedded, pixels
EMBED_CROPS = 64

# Parameters that training moves, with the factor on the learning rate of each.
TRAINED = {
    "film_BF": 1.0, "projection_BDD": 0.2, "bias_BD": 0.5, "codes_BKD": 0.2, "readout_BOC": 0.2, "gain_B": 0.5,
    "affine_B6": 0.2,
}  # fmt: skip


def fit_with_labels(
    bundle: Bundle, degraded: Sequence[ImageArray], clean: Sequence[ImageArray], config: RecipeConfig, tone: Tone
) -> Modulation:
    """The adapter that the truth gives: what the best label-free one could reach. For benchmarks and evaluations.

    Args:
        bundle: The base model.
        degraded, clean: (H, W, 3) uint8 arrays, pair by pair of one size.
        config: As of an adaptation.
        tone: The intent that `clean` is right with.
    """
    pairs = PatchSource.of_layers(zip(degraded, clean, strict=True))
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        embedding = bundle.model.embed(PatchSource(degraded).crops(EMBED_CROPS, CROP, generator)).embedding_BD.float()

    def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        degraded_BCHW, clean_BCHW = pairs.crops(batch, patch, generator).split(3, 1)
        return degraded_BCHW, clean_BCHW

    return fit_adapter(bundle.model, draw, embedding, config, generator=generator, tone=tone)[0]


def fit_adapter(
    model: Restorer,
    draw: Draw,
    embedding_ND: Tensor,
    config: RecipeConfig,
    *,
    generator: torch.Generator,
    trained: Mapping[str, float] = TRAINED,
    deadline: float = math.inf,
    start: Modulation | None = None,
    on_step: Callable[[float, float], None] = lambda share, loss: None,
    tone: Tone = "keep",
    distance: Callable[[Tensor, Tensor], Tensor] = restoration_loss,
) -> tuple[Modulation, dict[str, float]]:
    """Train the adapter alone; returns its running average and the losses.

    A small CORAL term keeps projected target embeddings at the second-order statistics that they
    had: a projection that tears them apart helps no image.

    Args:
        model: The frozen base model.
        draw: Gives training pairs.
        embedding_ND: Unmodulated embeddings of the target, N >= 2.
        config: Steps, learning rate, batch.
        generator: Of everything random.
        trained: Parameters that move, with the factor on the learning rate of each.
        deadline: `time.monotonic()` at which to give up.
        start: Row that training starts from, e.g. the domain's adapter so far; None is the identity. Its scope
            is left out.
        on_step: Called with the share done and the loss.
        tone: The intent with which the pairs' clean patches are right.
        distance: Of a restored batch from what is wanted.

    Raises:
        AdaptationError: NAN_LOSS; the source model is kept.
        OutOfTime: The deadline came first. An adapter that was trained for as long as a machine was fast
            would differ from machine to machine.
    """
    row = model.identity()
    parameters = {name: getattr(start or row, name).clone().requires_grad_(True) for name in trained}
    groups = [{"params": [p], "lr": config.learning_rate * trained[n]} for n, p in parameters.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    averaged = {name: p.detach().clone() for name, p in parameters.items()}
    rates = [group["lr"] for group in optimizer.param_groups]
    cov_DD = covariance(embedding_ND)
    first = last = 0.0
    steps = 0
    for step in range(config.steps):
        if time.monotonic() > deadline:
            raise OutOfTime(f"at step {step} of {config.steps}")
        decay = 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * (0.05 + 0.95 * decay)
        degraded, clean = draw(config.batch, config.patch, generator)
        loss = distance(model(degraded, replace(row, **parameters), tone=tone), clean)
        if "projection_BDD" in parameters:
            moved_ND = embedding_ND + embedding_ND @ parameters["projection_BDD"][0].T
            loss = loss + config.coral_weight * coral_distance(cov_DD, covariance(moved_ND)) * cov_DD.shape[0] ** 2
        if not torch.isfinite(loss):
            raise AdaptationError(
                "NAN_LOSS",
                f"adaptation loss is {loss.item()} at step {step}; the source model is kept. "
                f"Lower recipe.learning_rate (now {config.learning_rate:g}).",
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0)
        optimizer.step()
        steps += 1
        last = float(loss.detach()) if step == 0 else 0.9 * last + 0.1 * float(loss.detach())
        first = last if step == 0 else first
        keep = min(0.95, (1 + step) / (10 + step))
        for name, value in averaged.items():
            value.lerp_(parameters[name].detach(), 1 - keep)
        on_step((step + 1) / config.steps, last)
    return replace(row, **averaged), {"loss_first": first, "loss_last": last, "steps": float(steps)}
