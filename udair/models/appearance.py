"""What a set of images looks like in numbers that tell degradations apart and say little of content.

Axes: B images, C channels, H x W pixels, S statistics.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.models.padding import smoothed

BLOCK = 8

# The first `PHOTOMETRIC` depend on what is photographed, not only on what damaged it.
PHOTOMETRIC = 8
STATISTICS = (
    *(f"mean_{c}" for c in "rgb"),
    *(f"spread_{c}" for c in "rgb"),
    "dark_channel",
    "bright_channel",
    *(f"noise_floor_{c}" for c in "rgb"),
    "detail_median",
    "detail_high",
    "fine_over_coarse",
    "lag_across",
    "lag_down",
    "lag_diagonal",
    "streak_ratio",
    "blockiness",
)


def appearance(image_BCHW: Tensor) -> Tensor:
    """Statistics (B, S) of a batch; see `STATISTICS`.

    Noise is read from the smoothest tenth of 8 x 8 blocks, so that texture does not pass for noise;
    its neighbours' correlation there tells sensor noise from demosaiced noise.
    """
    image = image_BCHW.float()
    low = F.avg_pool2d(image, BLOCK)
    smooth = smoothed(image)
    high = image - smooth
    block_deviation = F.avg_pool2d(high.square(), BLOCK).sqrt()
    floor = _quantile(block_deviation, 0.1)
    luminance = high.mean(1, keepdim=True)
    detail = F.avg_pool2d(luminance.square(), BLOCK).sqrt()
    coarse = F.avg_pool2d(smooth, 2)
    coarse = coarse - smoothed(coarse)
    coarse_detail = F.avg_pool2d(coarse.mean(1, keepdim=True).square(), BLOCK // 2).sqrt()
    quiet = (detail <= _quantile(detail, 0.3)[:, :, None, None]).float()
    quiet = F.interpolate(quiet, scale_factor=BLOCK, mode="nearest")
    height, width = quiet.shape[2:]
    grain = luminance[:, :, :height, :width]
    columns = [
        *low.mean((2, 3)).unbind(1),
        *low.std((2, 3)).unbind(1),
        _quantile(low.amin(1, keepdim=True), 0.1)[:, 0],
        _quantile(low.amax(1, keepdim=True), 0.9)[:, 0],
        *_log(floor).unbind(1),
        _log(_quantile(detail, 0.5))[:, 0],
        _log(_quantile(detail, 0.9))[:, 0],
        _log(_quantile(detail, 0.5))[:, 0] - _log(_quantile(coarse_detail, 0.5))[:, 0],
        _lag(grain, quiet, 0, 1),
        _lag(grain, quiet, 1, 0),
        _lag(grain, quiet, 1, 1),
        _streaks(luminance),
        _blockiness(luminance),
    ]
    return torch.stack(columns, 1)


def _log(value: Tensor) -> Tensor:
    return (value + 1e-3).log()


def _quantile(value_BCHW: Tensor, q: float) -> Tensor:
    return torch.quantile(value_BCHW.flatten(2), q, dim=2)


def _lag(grain: Tensor, mask: Tensor, down: int, right: int) -> Tensor:
    product = grain * grain.roll((-down, -right), (2, 3)) * mask
    return product.sum((1, 2, 3)) / (grain.square() * mask).sum((1, 2, 3)).clamp(min=1e-9)


def _streaks(luminance: Tensor) -> Tensor:
    across = (luminance - luminance.roll(1, 3)).square().mean((1, 2, 3))
    down = (luminance - luminance.roll(1, 2)).square().mean((1, 2, 3))
    return _log(across.sqrt()) - _log(down.sqrt())


def _blockiness(luminance: Tensor) -> Tensor:
    step = (luminance - luminance.roll(1, 3)).abs().mean((1, 2))
    width = step.shape[1] // 8 * 8
    by_phase = step[:, :width].view(len(step), -1, 8).mean(1)
    return by_phase.amax(1) / by_phase.mean(1).clamp(min=1e-9) - 1
