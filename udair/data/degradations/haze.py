"""Haze by the atmospheric scattering model, I = J t + A (1 - t), with a smooth depth surrogate."""

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
    batch, _, height, width = image.shape
    rise = torch.linspace(1, 0, height, device=image.device)[None, None, :, None]
    depth = 0.35 + 0.65 * smooth_field(batch, height, width, generator).mul(0.6).add(0.4 * rise)
    transmission = torch.exp(-per_image(values["density"]) * depth)
    airlight = per_image(values["airlight"]) * tint(values["warmth"])
    return image * transmission + airlight * (1 - transmission)


def tint(warmth_B: Tensor) -> Tensor:
    """Per-channel factor (B, 3, 1, 1): positive warmth lifts red and lowers blue."""
    direction_3 = warmth_B.new_tensor([1.0, 0.0, -1.0])
    return 1 + warmth_B[:, None, None, None] * direction_3[None, :, None, None]


HAZE = Family(
    "haze",
    {
        "density": Parameter(Range(0.4, 2.2), Range(0.2, 3.5), severity=1.0),
        "airlight": Parameter(Range(0.7, 1.0), Range(0.5, 1.0)),
        "warmth": Parameter(Range(-0.05, 0.05), Range(-0.3, 0.3)),
    },
    _apply,
)
