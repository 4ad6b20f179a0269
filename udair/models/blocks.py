"""Building blocks of the restorer: dense convolutions with FiLM, and attention over channels.

Axes: B samples, C channels, H x W positions of one level, D code width, F modulations of all blocks.
Source: He et al. 2016, residual blocks; Perez et al. 2018, FiLM; Hu et al. 2018, squeeze and excitation.
Why no depthwise convolution, norm or gate: docs/adr/0020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Convolution, FiLM, ReLU, convolution, perhaps attention over channels; added to its input.

    It starts as the identity: the second convolution is zero.

    Args:
        channels: C.
        code_dim: D of the embedding that conditions it.
        place: Where its modulations, scale and shift of every channel, lie among all F.
        attend: Weigh channels by what the whole picture holds. Then a position depends on all others, so
            it is for levels that are run on the whole picture at once.
    """

    def __init__(self, channels: int, code_dim: int, place: int, attend: bool) -> None:
        super().__init__()
        self.place = slice(place, place + 2 * channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.second.weight)
        self.film = nn.Linear(code_dim, 2 * channels)
        self.attend = nn.Conv2d(channels, channels, 1) if attend else None
        for layer in (self.film, self.attend):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @property
    def films(self) -> int:
        """Number of modulations: scale and shift of every channel."""
        return self.film.out_features

    def forward(self, x_BCHW: Tensor, embedding_BD: Tensor, delta_BF: Tensor | None) -> Tensor:
        """Transform features; `delta_BF` is an adapter's change of all blocks' FiLM parameters."""
        y = self.change(x_BCHW, self.modulation(embedding_BD, delta_BF))
        if self.attend is not None:
            y = y * self.gate(y.mean((2, 3), keepdim=True))
        return x_BCHW + y

    def modulation(self, embedding_BD: Tensor, delta_BF: Tensor | None) -> Tensor:
        """FiLM parameters (B, 2 C) of this block, scales first."""
        film: Tensor = self.film(embedding_BD)
        return film if delta_BF is None else film + delta_BF[:, self.place]

    def change(self, x_BCHW: Tensor, film_B2C: Tensor) -> Tensor:
        """What depends on the neighbours alone: two positions to each side."""
        scale, shift = film_B2C[:, :, None, None].chunk(2, 1)
        y: Tensor = self.second(F.relu(torch.addcmul(shift, self.first(x_BCHW), 1 + scale), inplace=True))
        return y

    def gate(self, pooled_BC11: Tensor) -> Tensor:
        """Weights of the channels (B, C, 1, 1) in (0, 2), from their means over the whole picture."""
        assert self.attend is not None
        return 2 * torch.sigmoid(self.attend(pooled_BC11))


@torch.no_grad()
def run_in_bands(block: DenseBlock, x_BCHW: Tensor, embedding_BD: Tensor, delta_BF: Tensor | None, rows: int) -> Tensor:
    """A block's forward on a large picture: the same numbers, in place, with two feature maps in memory.

    Args:
        block: In evaluation mode.
        x_BCHW: Features; overwritten.
        embedding_BD, delta_BF: As for the block.
        rows: Height of a band, positions.
    """
    film_B2C = block.modulation(embedding_BD, delta_BF)
    height = x_BCHW.shape[2]
    y_BCHW = torch.empty_like(x_BCHW)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = min(2, top), min(2, height - bottom)  # what two 3 x 3 convolutions see
        band = block.change(x_BCHW[:, :, top - above : bottom + below], film_B2C)
        y_BCHW[:, :, top:bottom] = band[:, :, above : above + bottom - top]
    if block.attend is not None:
        gate_BC11 = block.gate(y_BCHW.mean((2, 3), keepdim=True))
        x_BCHW.addcmul_(y_BCHW, gate_BC11)
    else:
        x_BCHW.add_(y_BCHW)
    return x_BCHW
