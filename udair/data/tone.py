"""Photographs as dark, cast or hazy scenes truly are: what a restoration that keeps tone must leave alone.

Axes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from udair.data.degradations.family import per_image
from udair.data.degradations.haze import HAZE, tint

DARK_SHARE, HAZY_SHARE = 0.35, 0.15
EXPOSURE = (0.08, 1.0)  # drawn log-uniformly


def scenes_of_any_tone(image_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """A third of a batch darker and tinted, a seventh of it hazy, the rest as it came."""
    draw_B4 = torch.rand(len(image_BCHW), 4, generator=generator, device=image_BCHW.device)
    level_B, tone_B, warmth_B, kind_B = draw_B4.unbind(1)
    low, high = map(math.log, EXPOSURE)
    exposure = per_image(torch.exp(low + level_B * (high - low)))
    dark = exposure * image_BCHW.clamp(min=1e-4) ** per_image(0.8 + 1.2 * tone_B) * tint(0.4 * warmth_B - 0.2)
    haze = {"density": 0.2 + 2.0 * level_B, "airlight": 0.6 + 0.4 * tone_B, "warmth": 0.2 * warmth_B - 0.1}
    hazy = HAZE.apply(image_BCHW, haze, generator)
    kind = per_image(kind_B)
    toned = torch.where(kind < DARK_SHARE + HAZY_SHARE, hazy, image_BCHW)
    return torch.where(kind < DARK_SHARE, dark, toned).clamp(0, 1)
