"""How far a restored image is from the clean one.

Axes: B samples, C channels, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.errors import ShapeError


def restoration_loss(restored_BCHW: Tensor, clean_BCHW: Tensor, fft_weight: float = 0.1) -> Tensor:
    """Mean absolute error in pixels plus `fft_weight` times that in the Fourier domain.

    Computed in float32. Zero exactly when the images agree.

    Raises:
        ShapeError: The shapes differ.

    Source: Cho et al. 2021 (MIMO-UNet), multi-scale frequency reconstruction, at one scale; weight
    0.1 as in MoCE-IR and R2R. UDAIR does not state its restoration loss.
    """
    if restored_BCHW.shape != clean_BCHW.shape:
        raise ShapeError("restored_BCHW", tuple(restored_BCHW.shape), f"that of clean_BCHW {tuple(clean_BCHW.shape)}")
    difference = restored_BCHW.float() - clean_BCHW.float()
    spectrum = torch.view_as_real(torch.fft.rfft2(difference, norm="ortho"))
    return difference.abs().mean() + fft_weight * spectrum.abs().mean()


def tone_loss(restored_BCHW: Tensor, clean_BCHW: Tensor, kept_B: Tensor, cell: int = 16) -> Tensor:
    """Mean absolute error of local means, over the samples whose tone is to be kept.

    A net that may brighten some pictures drifts in others, by too little for the pixel loss to mind beside
    noise: means over `cell` x `cell` pixels have no noise left. Zero where no sample keeps its tone.

    Args:
        restored_BCHW, clean_BCHW: RGB, of equal shapes.
        kept_B: True for the samples that count.
        cell: Side of a mean, pixels.
    """
    difference = F.avg_pool2d(restored_BCHW.float() - clean_BCHW.float(), cell, ceil_mode=True)
    error_B = difference.abs().flatten(1).mean(1)
    return (error_B * kept_B).sum() / kept_B.sum().clamp(min=1)
