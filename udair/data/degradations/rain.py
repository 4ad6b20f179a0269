"""Rain: streaks of one direction with varied brightness, and the veil of the drops too far to see."""

from __future__ import annotations

import torch
from torch import Tensor

from udair.data.degradations.family import (
    Family,
    Parameter,
    Range,
    Values,
    convolve,
    line_kernel,
    per_image,
)

_SIDE = 41


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    batch, _, height, width = image.shape
    drops = torch.rand(batch, 1, height, width, generator=generator, device=image.device)
    brightness = torch.rand(batch, 1, height, width, generator=generator, device=image.device)
    seeds = (drops < per_image(values["density"])).float() * (0.4 + 0.6 * brightness)
    kernel = line_kernel(values["length"], values["angle"], values["width"], _SIDE)
    # Peak, not sum, is what a streak's opacity means.
    kernel = kernel / kernel.amax((1, 2), keepdim=True)
    streaks = convolve(seeds, kernel).clamp(max=1.0) * per_image(values["opacity"])
    veil = per_image(values["veil"])
    rained = image * (1 - streaks) + 0.9 * streaks
    return rained * (1 - veil) + 0.75 * veil


RAIN = Family(
    "rain",
    {
        "density": Parameter(Range(0.001, 0.012, log=True), Range(0.001, 0.04, log=True), severity=1.0),
        "length": Parameter(Range(8.0, 25.0), Range(5.0, 38.0), severity=0.3),
        "angle": Parameter(Range(-30.0, 30.0), Range(-60.0, 60.0)),
        "width": Parameter(Range(0.4, 0.9), Range(0.4, 1.4)),
        "opacity": Parameter(Range(0.3, 0.8), Range(0.2, 1.0), severity=1.0),
        "veil": Parameter(Range(0.0, 0.1), Range(0.0, 0.4)),
    },
    _apply,
)
