"""Noise as cameras make it: photons and read noise behind a colour mosaic, then what the camera does to both.

Demosaicing spreads each sample over its neighbours, smoothing and scaling down spread it further, and the
tone curve lifts it in the dark. So it is coloured, correlated over pixels, and strongest in shadows,
where white noise is none of these.

Source: the pipeline of Brooks et al. 2019 (Unprocessing Images for Learned Raw Denoising), on the noise alone:
the picture itself stays as sharp as it was, as in real pairs whose truth went through the same camera.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
from udair.data.degradations.jpeg import compress

_GAMMA = 2.2
_BILINEAR = ((0.25, 0.5, 0.25), (0.5, 1.0, 0.5), (0.25, 0.5, 0.25))


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    linear = image.clamp(min=1e-4) ** _GAMMA
    fine = _developed(linear, values, generator)
    # Noise of a larger picture that was scaled down keeps its grain; of a digital zoom it is coarser.
    half = F.avg_pool2d(linear, 2, ceil_mode=True)
    coarse = F.interpolate(_developed(half, values, generator), scale_factor=2, mode="bilinear", align_corners=False)
    share = per_image(values["coarse"]).clamp(0, 1)
    noise = (1 - share).sqrt() * fine + share.sqrt() * coarse[:, :, : image.shape[2], : image.shape[3]]
    noisy = (linear + noise).clamp(0, 1) ** (1 / _GAMMA)
    return compress(noisy, values["quality"])


def _developed(linear: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """Noise (B, 3, H, W) of one exposure, after white balance, demosaicing and smoothing."""
    variance = per_image(values["shot"]) * linear + per_image(values["read"]).square()
    # Red and blue are lifted by the white balance, and so is their noise.
    lift = linear.new_tensor([1.7, 1.0, 1.5])[None, :, None, None]
    raw = variance.sqrt() * lift * normal_like(linear, generator) * _mosaic(linear)
    kernel = linear.new_tensor(_BILINEAR)[None, None].expand(3, 1, 3, 3)
    weight = linear.new_tensor([1.0, 0.5, 1.0])[None, :, None, None]  # green has twice the samples
    spread = F.conv2d(F.pad(raw, (1, 1, 1, 1), mode="replicate"), kernel * weight.view(3, 1, 1, 1), groups=3)
    return convolve(spread, gaussian_kernel(values["smooth"], 9))


def _mosaic(image: Tensor) -> Tensor:
    """Which samples a sensor has (1, 3, H, W): red, green / green, blue."""
    height, width = image.shape[2:]
    odd_row = (torch.arange(height, device=image.device) % 2)[:, None]
    odd_column = (torch.arange(width, device=image.device) % 2)[None, :]
    red, blue = (1 - odd_row) * (1 - odd_column), odd_row * odd_column
    return torch.stack([red, 1 - red - blue, blue])[None].to(image.dtype)


CAMERA = Family(
    "camera",
    {
        "shot": Parameter(Range(3e-4, 0.02, log=True), Range(1e-4, 0.05, log=True), severity=1.0),
        "read": Parameter(Range(0.001, 0.03, log=True), Range(0.0005, 0.08, log=True), severity=1.0),
        "smooth": Parameter(Range(0.05, 1.2), Range(0.05, 1.8)),
        "coarse": Parameter(Range(-0.5, 1.0), Range(-0.5, 1.0)),
        "quality": Parameter(Range(50.0, 99.0), Range(20.0, 99.0), severity=-0.3),
    },
    _apply,
)
