"""Low light: less exposure, a darker tone curve, a colour cast, and the noise that comes with it."""

from __future__ import annotations

import torch
from torch import Tensor

from udair.data.degradations.family import (
    Family,
    Parameter,
    Range,
    Values,
    normal_like,
    per_image,
)
from udair.data.degradations.haze import tint


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    dark = per_image(values["exposure"]) * image.clamp(min=1e-4) ** per_image(values["gamma"])
    dark = dark * tint(values["warmth"])
    return dark + per_image(values["sigma"]) * normal_like(image, generator)


LOW_LIGHT = Family(
    "low_light",
    {
        # Clearly dark, down to a twentieth: what is only a little dark may be meant so.
        "exposure": Parameter(Range(0.05, 0.6, log=True), Range(0.03, 0.9, log=True), severity=-1.0),
        "gamma": Parameter(Range(1.0, 1.8), Range(0.8, 2.6), severity=0.5),
        "warmth": Parameter(Range(-0.08, 0.08), Range(-0.35, 0.35)),
        "sigma": Parameter(Range(0.0, 0.03), Range(0.0, 0.08)),
    },
    _apply,
)
