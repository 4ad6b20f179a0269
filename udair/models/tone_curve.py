"""A monotone curve a channel before the net: how an adapter corrects exposure, colour or veil that a whole domain shares.

Knots lie at squares, dense where a dark picture's pixels are. Deltas of zero are the identity, to the last bit.

Axes: B samples, C channels, H x W pixels, K knots.
"""

from __future__ import annotations

import torch
from torch import Tensor

KNOTS = 65


def knots(device: torch.device | str = "cpu") -> Tensor:
    """Where the curve's knots lie, (K,) in [0, 1]."""
    return torch.linspace(0, 1, KNOTS, device=device).square()


def bends(delta_BCK: Tensor) -> bool:
    """Whether a curve changes anything; waits for the device, unless the curve has no knots."""
    return delta_BCK.numel() > 0 and bool(delta_BCK.any())


def toned(image_BCHW: Tensor, delta_BCK: Tensor, inside_B: Tensor) -> Tensor:
    """Pixels through their samples' curves, where the adapter's scope holds the sample; the others as they are.

    Args:
        image_BCHW: RGB in [0, 1].
        delta_BCK: What the curves add at the knots.
        inside_B: 1.0 where the scope holds the sample, else 0.0.
    """
    if not bends(delta_BCK):
        return image_BCHW
    delta_BCK = delta_BCK * inside_B[:, None, None]
    x = image_BCHW.clamp(0, 1)
    below = (x.sqrt() * (KNOTS - 1)).long().clamp(max=KNOTS - 2)
    flat = below.flatten(2)
    at = knots(x.device)
    low, high = at[below], at[below + 1]
    first = delta_BCK.gather(2, flat).view_as(x)
    last = delta_BCK.gather(2, flat + 1).view_as(x)
    return image_BCHW + first.lerp(last, ((x - low) / (high - low)).clamp(0, 1))
