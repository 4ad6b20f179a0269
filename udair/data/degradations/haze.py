"""Haze by the atmospheric scattering model, I = J t + A (1 - t), with depth surrogates."""

from __future__ import annotations

import torch
from torch import Tensor

from udair.data.degradations.family import (
    Family,
    Parameter,
    Range,
    Values,
    per_image,
    smooth_field,
)


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    transmission = torch.exp(-per_image(values["density"]) * _depth(image, generator))
    airlight = per_image(values["airlight"]) * tint(values["warmth"])
    return image * transmission + airlight * (1 - transmission)


def _depth(image: Tensor, generator: torch.Generator) -> Tensor:
    """Depth surrogates (B, 1, H, W) in [0.35, 1]: a slope to the horizon, rolling ground, and
    nearer things that stand before it with sharp edges."""
    batch, _, height, width = image.shape
    rise = torch.linspace(1, 0, height, device=image.device)[None, None, :, None]
    ground = 0.6 * smooth_field(batch, height, width, generator) + 0.4 * rise
    outline = smooth_field(batch, height, width, generator, cells=5)
    level = 0.45 + 0.4 * torch.rand(batch, 1, 1, 1, generator=generator, device=generator.device)
    nearer = 0.7 * torch.rand(batch, 1, 1, 1, generator=generator, device=generator.device)
    return 0.35 + 0.65 * torch.where(outline > level, ground * nearer, ground)


def tint(warmth_B: Tensor) -> Tensor:
    """Per-channel factor (B, 3, 1, 1): positive warmth lifts red and lowers blue."""
    direction_3 = warmth_B.new_tensor([1.0, 0.0, -1.0])
    return 1 + warmth_B[:, None, None, None] * direction_3[None, :, None, None]


HAZE = Family(
    "haze",
    {
        # Milder haze cannot be told from a plain picture: it is left to the intent that keeps tone.
        "density": Parameter(Range(0.6, 2.6), Range(0.2, 3.5), severity=1.0),
        "airlight": Parameter(Range(0.65, 1.0), Range(0.5, 1.0)),
        "warmth": Parameter(Range(-0.06, 0.06), Range(-0.3, 0.3)),
    },
    _apply,
)
