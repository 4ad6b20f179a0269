"""Building blocks of the restorer: NAF blocks with FiLM after each norm.

Axes: B samples, C channels, H x W pixels of one level, D code width.
Source: Chen et al. 2022, Simple Baselines for Image Restoration (NAFNet); Perez et al. 2018, FiLM;
Chu et al. 2022, test-time local converter (local pooling).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """LayerNorm over channels at every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise; channels-last inputs cost no copy."""
        # Fixed affine parameters fold into FiLM, but keep the unconditioned model trainable.
        x_BHWC = F.layer_norm(x_BCHW.permute(0, 2, 3, 1), (x_BCHW.shape[1],), self.weight, self.bias, 1e-6)
        return x_BHWC.permute(0, 3, 1, 2)


def simple_gate(x_BCHW: Tensor) -> Tensor:
    """First half of the channels times the second half."""
    a, b = x_BCHW.chunk(2, 1)
    return a * b


def local_mean(x_BCHW: Tensor, window: int) -> Tensor:
    """Mean over a window, at every place where the whole window lies inside the image.

    A net trained on patches meets other statistics in whole images; pooling over a training-sized
    window at test time closes the gap (Chu et al. 2022). Computed in float32.

    Args:
        x_BCHW: Features.
        window: Side of the window, pixels.

    Returns:
        (B, C, h, w): 1 x 1 when the image fits into the window; `spread` gives every pixel its value.
    """
    height, width = x_BCHW.shape[2:]
    if height <= window and width <= window:
        return x_BCHW.mean((2, 3), keepdim=True)
    mean = _moving_mean(_moving_mean(x_BCHW, 2, min(window, height)), 3, min(window, width))
    return mean.to(x_BCHW.dtype)


def _moving_mean(x: Tensor, dim: int, length: int) -> Tensor:
    """Means over `length` neighbours. One sum and then differences: a window moves few steps in a tile."""
    steps = x.shape[dim] - length
    first = x.narrow(dim, 0, length).sum(dim, keepdim=True, dtype=torch.float32)
    if steps:
        entering, leaving = x.narrow(dim, length, steps).float(), x.narrow(dim, 0, steps).float()
        first = torch.cat([first, first + (entering - leaving).cumsum(dim)], dim)
    return first / length


def spread(mean_BChw: Tensor, height: int, width: int) -> Tensor:
    """What `local_mean` gave, for every pixel: near the edge, the window that lies nearest; (B, C, H, W).

    One value for all stays 1 x 1.
    """
    tall, wide = mean_BChw.shape[2:]
    if tall == wide == 1:
        return mean_BChw
    top, left = (height - tall) // 2, (width - wide) // 2
    return F.pad(mean_BChw, (left, width - wide - left, top, height - tall - top), mode="replicate")


class NAFBlock(nn.Module):
    """Gated depthwise convolution and gated feed-forward, each after a norm with FiLM.

    Args:
        channels: C.
        code_dim: D of the embedding that conditions both norms.
        window: Side of the pooling window of the channel attention, pixels of this level.
    """

    def __init__(self, channels: int, code_dim: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = ChannelNorm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.attend = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.norm2 = ChannelNorm(channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.film = nn.Linear(code_dim, 4 * channels)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    @property
    def films(self) -> int:
        """Number of modulations: scale and shift of two norms."""
        return self.film.out_features

    def forward(self, x_BCHW: Tensor, embedding_BD: Tensor, delta_BF: Tensor | None) -> Tensor:
        """Transform features; `delta_BF` is an adapter's change of the FiLM parameters."""
        film_BF = self.film(embedding_BD)
        if delta_BF is not None:
            film_BF = film_BF + delta_BF
        scale1, shift1, scale2, shift2 = film_BF[:, :, None, None].chunk(4, 1)
        y = self.norm1(x_BCHW) * (1 + scale1) + shift1
        y = simple_gate(self.depthwise(self.expand(y)))
        pooled = y.mean((2, 3), keepdim=True) if self.training else local_mean(y, self.window)
        y = self.project(y * spread(self.attend(pooled), *y.shape[2:]))
        x_BCHW = x_BCHW + y * self.beta
        y = self.norm2(x_BCHW) * (1 + scale2) + shift2
        y = self.narrow(simple_gate(self.widen(y)))
        out: Tensor = x_BCHW + y * self.gamma
        return out
