"""Blur: defocus as a Gaussian, motion as a line segment, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from udair.data.degradations.family import (
    Family,
    Parameter,
    Range,
    Values,
    convolve,
    gaussian_kernel,
    line_kernel,
)

_SIDE = 31


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    del generator  # blur is deterministic
    motion = line_kernel(values["length"], values["angle"], torch.full_like(values["length"], 0.5), _SIDE)
    return convolve(convolve(image, motion), gaussian_kernel(values["defocus"], 13))


BLUR = Family(
    "blur",
    {
        "defocus": Parameter(Range(0.2, 1.8), Range(0.1, 2.6), severity=1.0),
        "length": Parameter(Range(1.0, 12.0), Range(1.0, 25.0), severity=1.0),
        "angle": Parameter(Range(-90.0, 90.0), Range(-90.0, 90.0)),
    },
    _apply,
)
