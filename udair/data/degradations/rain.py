"""Rain: layers of streaks of one direction, and the veil of the drops too far to see."""

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
    # Two layers: drops at the focal distance, and fewer, longer and wider ones before it.
    near = _streaks(image, values, generator, 1.0, 1.0)
    far = _streaks(image, values, generator, 0.25, 1.5)
    streaks = 1 - (1 - near) * (1 - far)
    veil = per_image(values["veil"].clamp(min=0))
    # Two laws: drops before the scene screen it; drops that are lit add their own light to it. Half of the
    # real pairs that we have follow the second.
    light = 0.35 + 0.6 * torch.rand(len(image), 1, 1, 1, generator=generator, device=generator.device)
    screened, added = image + streaks * (0.95 - image).clamp(min=0), image + streaks * light
    rained = torch.where(per_image(values["lit"]) < 0, screened, added).clamp(max=1)
    return rained * (1 - veil) + 0.75 * veil


def _streaks(image: Tensor, values: Values, generator: torch.Generator, share: float, size: float) -> Tensor:
    """Opacity (B, 1, H, W) of one layer of streaks, in [0, 1]."""
    batch, _, height, width = image.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, device=generator.device)

    drops, brightness = draw(1, height, width), draw(1, height, width)
    seeds = (drops < share * per_image(values["density"])).float() * (0.25 + 0.75 * brightness)
    angle = values["angle"] + 8 * (draw() - 0.5)  # wind: layers differ by a few degrees
    kernel = line_kernel((size * values["length"]).clamp(max=_SIDE - 2), angle, size * values["width"], _SIDE)
    # Peak, not sum, is what a streak's opacity means.
    kernel = kernel / kernel.amax((1, 2), keepdim=True)
    return convolve(seeds, kernel).clamp(max=1.0) * per_image(values["opacity"])


RAIN = Family(
    "rain",
    {
        "density": Parameter(Range(0.0008, 0.02, log=True), Range(0.0008, 0.04, log=True), severity=1.0),
        "length": Parameter(Range(6.0, 34.0), Range(5.0, 38.0), severity=0.3),
        "angle": Parameter(Range(-55.0, 55.0), Range(-60.0, 60.0)),
        "width": Parameter(Range(0.35, 1.2), Range(0.35, 1.4)),
        "opacity": Parameter(Range(0.2, 1.0), Range(0.2, 1.0), severity=1.0),
        # Below zero there is none.
        "veil": Parameter(Range(-0.1, 0.25), Range(-0.1, 0.4)),
        # Below zero streaks screen the scene, above they add to it.
        "lit": Parameter(Range(-0.4, 0.6), Range(-0.5, 0.6)),
    },
    _apply,
)
