"""Blur: defocus as a disc or a Gaussian, then the camera's motion, straight or shaken."""

from __future__ import annotations

import torch
from torch import Tensor

from udair.data.degradations.family import (
    Family,
    Parameter,
    Range,
    Values,
    convolve,
    disc_kernel,
    gaussian_kernel,
    path_kernel,
)

_SIDE = 45  # of a kernel, pixels: recorded camera shake is 13 to 27 wide (Levin et al. 2009), and a hand can be worse


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    motion = path_kernel(values["length"], values["angle"], values["shake"].clamp(min=0), _SIDE, generator)
    # A lens out of focus draws discs; optics and antialiasing draw Gaussians. A disc of radius 2 s
    # has the second moment of a Gaussian of deviation s.
    round_B = torch.rand(len(image), generator=generator, device=generator.device) < 0.5
    lens = torch.where(
        round_B[:, None, None], disc_kernel(2 * values["defocus"], 13), gaussian_kernel(values["defocus"], 13)
    )
    return convolve(convolve(image, motion), lens)


BLUR = Family(
    "blur",
    {
        "defocus": Parameter(Range(0.2, 1.8), Range(0.1, 2.6), severity=1.0),
        "length": Parameter(Range(1.0, 36.0, log=True), Range(1.0, 44.0, log=True), severity=1.0),
        "angle": Parameter(Range(-90.0, 90.0), Range(-90.0, 90.0)),
        # Below zero the path is straight: a share of the images keeps the plain motion blur.
        "shake": Parameter(Range(-0.5, 1.0), Range(-0.5, 1.5)),
    },
    _apply,
)
