"""Sensor noise: Gaussian read noise and signal-dependent shot noise, white or correlated."""

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
    normal_like,
    per_image,
)


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    noise = normal_like(image, generator)
    correlated = (values["correlation"] > 0.2).nonzero().squeeze(1)
    if len(correlated):
        # Demosaicing and in-camera denoising leave noise that is smooth over a pixel or two;
        # dividing by the kernel's norm keeps its standard deviation.
        kernel = gaussian_kernel(values["correlation"][correlated], 9)
        kernel = kernel / kernel.square().sum((1, 2), keepdim=True).sqrt()
        noise = noise.index_copy(0, correlated, convolve(noise[correlated], kernel))
    variance = per_image(values["sigma"]).square() + per_image(values["shot"]).clamp(min=0) * image
    return image + variance.sqrt() * noise


NOISE = Family(
    "noise",
    {
        "sigma": Parameter(Range(0.01, 0.24), Range(0.004, 0.4, log=True), severity=1.0),
        # Below zero there is none: two fifths of the images carry Gaussian noise alone, and half carry white noise.
        "shot": Parameter(Range(-0.02, 0.03), Range(-0.02, 0.05)),
        "correlation": Parameter(Range(-1.0, 1.1), Range(-1.0, 1.6)),
    },
    _apply,
)
