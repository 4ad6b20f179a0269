"""How good is an image: PSNR and SSIM against the truth, NIQE and codebook usage without it.

Axes: B images, C channels, H x W pixels, N patches, F features. All in RGB unless stated; no
border is cropped, and values are clamped to [0, 1] first, as the all-in-one tables do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.errors import ShapeError

NIQE_FEATURES = 36
NIQE_PATCH = 48


def psnr_db(image_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB: -10 log10 of the mean squared error, over all of RGB.

    Identical images give 100 dB rather than infinity, so that means stay finite.

    >>> psnr_db(torch.full((1, 3, 2, 2), 0.6), torch.full((1, 3, 2, 2), 0.5)).round(decimals=3)
    tensor([20.])
    """
    _same(image_BCHW, truth_BCHW)
    error_B = (image_BCHW.double().clamp(0, 1) - truth_BCHW.double().clamp(0, 1)).square().flatten(1).mean(1)
    return (-10 * error_B.clamp(min=1e-10).log10()).float()


def ssim(image_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """Structural similarity (B,), mean over RGB channels and valid 11 x 11 Gaussian windows.

    Source: Wang et al. 2004, eq. 13, with sigma 1.5, K1 0.01, K2 0.03 and range 1.

    Raises:
        ShapeError: A side is below 11 pixels.
    """
    _same(image_BCHW, truth_BCHW)
    if min(image_BCHW.shape[2:]) < 11:
        raise ShapeError("image_BCHW", tuple(image_BCHW.shape), "sides of 11 pixels or more")
    x, y = image_BCHW.double().clamp(0, 1), truth_BCHW.double().clamp(0, 1)
    window = _gaussian_window(11, 1.5).double().to(x.device)
    mean_x, mean_y = _filter(x, window), _filter(y, window)
    var_x = _filter(x * x, window) - mean_x.square()
    var_y = _filter(y * y, window) - mean_y.square()
    covariance = _filter(x * y, window) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    score = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)
    )
    return score.flatten(1).mean(1).float()


def niqe_features(image_CHW: Tensor) -> Tensor:
    """Natural-scene statistics (N, 36) of one image's patches, over two scales.

    Generalised Gaussian fits of locally normalised luminance and of the products of its neighbours.
    Patches are 48 x 48 rather than 96 x 96, so that small images still give several; scores are
    therefore comparable among themselves, not with published NIQE tables.

    Raises:
        ShapeError: A side is below 48 pixels.

    Source: Mittal et al. 2013, Making a "Completely Blind" Image Quality Analyzer.
    """
    if image_CHW.ndim != 3 or min(image_CHW.shape[1:]) < NIQE_PATCH:
        raise ShapeError("image_CHW", tuple(image_CHW.shape), f"(3, H, W) with sides of {NIQE_PATCH} or more")
    weights = image_CHW.new_tensor([0.299, 0.587, 0.114]).double()
    grey = (image_CHW.double().clamp(0, 1) * weights[:, None, None]).sum(0)[None, None] * 255
    height = grey.shape[2] // NIQE_PATCH * NIQE_PATCH
    width = grey.shape[3] // NIQE_PATCH * NIQE_PATCH
    grey = grey[:, :, :height, :width]
    scales = [_patch_features(_mscn(grey), NIQE_PATCH)]
    half = F.interpolate(grey, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
    scales.append(_patch_features(_mscn(half), NIQE_PATCH // 2))
    return torch.cat(scales, 1)


def niqe(features_NF: Tensor, pristine_mean_F: Tensor, pristine_cov_FF: Tensor) -> float:
    """Distance of a set of patches to pristine photographs; lower is more natural.

    Args:
        features_NF: Patches of one image or of a whole set; a set is far more reliable.
        pristine_mean_F, pristine_cov_FF: Gaussian of clean photographs, from the source statistics.

    Returns:
        The score, or NaN below two finite patches.
    """
    rows = features_NF[torch.isfinite(features_NF).all(1)].double()
    if len(rows) < 2:
        return math.nan
    offset = pristine_mean_F.double() - rows.mean(0)
    covariance = (pristine_cov_FF.double() + torch.cov(rows.T)) / 2
    return float((offset @ torch.linalg.pinv(covariance, hermitian=True) @ offset).clamp(min=0).sqrt())


def codebook_perplexity(histogram_BK: Tensor) -> float:
    """How many codes a set of images uses, in effect: exp of the entropy of the mean histogram."""
    share_K = histogram_BK.mean(0).clamp(min=1e-12)
    share_K = share_K / share_K.sum()
    return float(torch.exp(-(share_K * share_K.log()).sum()))


def _same(image: Tensor, truth: Tensor) -> None:
    if image.ndim != 4 or image.shape != truth.shape:
        raise ShapeError("image_BCHW", tuple(image.shape), f"(B, C, H, W) like the truth's {tuple(truth.shape)}")


def _gaussian_window(side: int, sigma: float) -> Tensor:
    axis = torch.arange(side).double() - side // 2
    line = torch.exp(-axis.square() / (2 * sigma**2))
    return line / line.sum()


def _filter(x: Tensor, window: Tensor) -> Tensor:
    channels = x.shape[1]
    x = F.conv2d(x, window.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)
    return F.conv2d(x, window.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)


def _mscn(grey_11HW: Tensor) -> Tensor:
    window = _gaussian_window(7, 7 / 6).to(grey_11HW)
    padded = F.pad(grey_11HW, (3, 3, 3, 3), mode="replicate")
    mean = _filter(padded, window)
    deviation = (_filter(padded * padded, window) - mean.square()).clamp(min=0).sqrt()
    return (grey_11HW - mean) / (deviation + 1)


def _patch_features(mscn_11HW: Tensor, side: int) -> Tensor:
    tiles = mscn_11HW.unfold(2, side, side).unfold(3, side, side).reshape(-1, side, side)
    parts = list(_symmetric_fit(tiles))
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        parts += _asymmetric_fit(tiles * tiles.roll((down, right), (1, 2)))
    return torch.stack(parts, 1)


# Ratio of moments of a generalised Gaussian as a function of its shape: inverted by search.
_SHAPES = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)
_RATIO = torch.exp(2 * torch.lgamma(2 / _SHAPES) - torch.lgamma(1 / _SHAPES) - torch.lgamma(3 / _SHAPES))


def _shape(ratio_N: Tensor) -> Tensor:
    index = torch.searchsorted(_RATIO.to(ratio_N.device), ratio_N.clamp(float(_RATIO[0]), float(_RATIO[-1])))
    return _SHAPES.to(ratio_N.device)[index.clamp(max=len(_SHAPES) - 1)]


def _symmetric_fit(tiles: Tensor) -> tuple[Tensor, Tensor]:
    flat = tiles.flatten(1)
    variance = flat.square().mean(1)
    return _shape(flat.abs().mean(1).square() / variance.clamp(min=1e-12)), variance


def _asymmetric_fit(tiles: Tensor) -> list[Tensor]:
    flat = tiles.flatten(1)
    negative, positive = flat < 0, flat > 0
    left = ((flat.square() * negative).sum(1) / negative.sum(1).clamp(min=1)).sqrt()
    right = ((flat.square() * positive).sum(1) / positive.sum(1).clamp(min=1)).sqrt()
    gamma = left / right.clamp(min=1e-9)
    ratio = flat.abs().mean(1).square() / flat.square().mean(1).clamp(min=1e-12)
    shape = _shape(ratio * (gamma**3 + 1) * (gamma + 1) / (gamma.square() + 1).square())
    scale = torch.exp(0.5 * (torch.lgamma(1 / shape) - torch.lgamma(3 / shape)))
    mean = (right - left) * scale * torch.exp(torch.lgamma(2 / shape) - torch.lgamma(1 / shape))
    return [shape, mean, left.square(), right.square()]
