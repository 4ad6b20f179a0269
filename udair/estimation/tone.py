"""The tone curve between two sets of photographs: what takes the levels of one to those of the other.

Axes: C channels, T knots of a curve, Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from udair.data.images import ImageArray
from udair.models.tone_curve import knots

QUANTILES = 63
EDGE = 0.01  # of the pixels at each end, from where the curve runs straight to black and to white
STEP = 2  # every second pixel of every second row counts
MOST_PIXELS = 2**18


def pooled(images: Sequence[ImageArray]) -> Tensor:
    """Pixels of a set, (P, 3) in [0, 1]; at most `MOST_PIXELS`, evenly spread."""
    pixels = torch.cat([torch.from_numpy(image[::STEP, ::STEP].reshape(-1, 3).copy()) for image in images])
    return pixels[:: max(1, math.ceil(len(pixels) / MOST_PIXELS))].float() / 255


def towards_mean(pixels_PC: Tensor, mean: float) -> Tensor:
    """Pixels through the power that gives them this mean; (P, 3) in [0, 1]."""
    low, high = 0.02, 50.0
    for _ in range(40):  # the mean falls as the power grows
        power = math.sqrt(low * high)
        low, high = (power, high) if float(pixels_PC.pow(power).mean()) > mean else (low, power)
    return pixels_PC.pow(math.sqrt(low * high))


def tone_curve(from_PC: Tensor, to_PC: Tensor, *, grey: bool) -> Tensor:
    """What a monotone curve adds at its knots, (1, 3, T), to take one set's levels to another's.

    Args:
        from_PC, to_PC: Pixels of both, from `pooled`.
        grey: One curve for all channels, so that a cast stays.

    Source: histogram specification, Gonzalez & Woods.
    """
    if grey:
        from_PC, to_PC = from_PC.mean(1, keepdim=True), to_PC.mean(1, keepdim=True)
    shares = torch.linspace(EDGE, 1 - EDGE, QUANTILES)
    at = knots()
    deltas = []
    for channel in range(from_PC.shape[1]):
        x, y = (torch.quantile(pixels[:, channel], shares) for pixels in (from_PC, to_PC))
        x, y = (torch.cat([torch.zeros(1), values, torch.ones(1)]) for values in (x, y))
        deltas.append(_through(at, _rising(x), y) - at)
    delta_CT = torch.stack(deltas)
    return delta_CT.expand(3, -1)[None].contiguous()


def undone(delta_1CT: Tensor, image_BCHW: Tensor) -> Tensor:
    """Pixels before a curve that gave these."""
    at = knots(image_BCHW.device)
    parts = []
    for channel, delta_T in enumerate(delta_1CT[0].to(image_BCHW.device)):
        parts.append(_through(image_BCHW[:, channel], _rising(at + delta_T), at))
    return torch.stack(parts, 1)


def _rising(values: Tensor) -> Tensor:
    """Strictly increasing, so that there is one answer for each level."""
    return torch.cummax(values, 0).values + 1e-6 * torch.arange(len(values), device=values.device)


def _through(x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """Linear between (at, values); as at the last one beyond them."""
    above = torch.searchsorted(at, x.contiguous()).clamp(1, len(at) - 1)
    share = ((x - at[above - 1]) / (at[above] - at[above - 1])).clamp(0, 1)
    return values[above - 1].lerp(values[above], share)
