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
    white = normal_like(image, generator)
    correlation = values["correlation"]
    # Demosaicing and in-camera denoising leave noise that is smooth over a pixel or two; dividing
    # by the kernel's norm keeps its standard deviation.
    kernel = gaussian_kernel(correlation, 9)
    kernel = kernel / kernel.square().sum((1, 2), keepdim=True).sqrt()
    noise = convolve(white, kernel) if float(correlation.max()) > 0.05 else white
    variance = per_image(values["sigma"]).square() + per_image(values["shot"]) * image
    return image + variance.sqrt() * noise


NOISE = Family(
    "noise",
    {
        "sigma": Parameter(Range(0.01, 0.2), Range(0.005, 0.4), severity=1.0),
        "shot": Parameter(Range(0.0, 0.005), Range(0.0, 0.05)),
        "correlation": Parameter(Range(0.0, 0.0), Range(0.0, 1.6)),
    },
    _apply,
)
