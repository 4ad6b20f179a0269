"""Building blocks of the restorer: dense convolutions with FiLM, and attention over channels.

Axes: B samples, C channels, H x W positions of one level, D code width, F modulations of all blocks.
Source: He et al. 2016, residual blocks; Perez et al. 2018, FiLM; Hu et al. 2018, squeeze and excitation.
Why no depthwise convolution, norm or gate: docs/adr/0020.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VIEW_EIGHTHS = 7


class DenseBlock(nn.Module):
    """Convolution, FiLM, ReLU, convolution, perhaps attention over channels; added to its input.

    It starts as the identity: the second convolution is zero.

    Args:
        channels: C.
        code_dim: D of the embedding that conditions it.
        place: Where its modulations, scale and shift of every channel, lie among all F.
        attend: Weigh channels by what the whole picture holds. Then a position depends on all others, so
            it is for levels that are run on the whole picture at once.
        patch: Side of the largest patches of training, positions of this level: what is larger is seen in `views`.
    """

    def __init__(self, channels: int, code_dim: int, place: int, attend: bool, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.halved = False  # convolve in bfloat16: `udair/models/served.py`
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
            gate = self.gate(y.mean((2, 3), keepdim=True) if self.training else views(y, self.patch))
            height, width = y.shape[2:]
            y = y * spread(gate, 0, height, width, height)
        return x_BCHW + y

    def modulation(self, embedding_BD: Tensor, delta_BF: Tensor | None) -> Tensor:
        """FiLM parameters (B, 2 C) of this block, scales first."""
        film: Tensor = self.film(embedding_BD)
        return film if delta_BF is None else film + delta_BF[:, self.place]

    def change(self, x_BCHW: Tensor, film_B2C: Tensor) -> Tensor:
        """What depends on the neighbours alone: two positions to each side."""
        scale, shift = film_B2C[:, :, None, None].chunk(2, 1)
        scale = 1 + scale
        if self.halved:
            x_BCHW, scale, shift = x_BCHW.bfloat16(), scale.bfloat16(), shift.bfloat16()
        y: Tensor = self.second(F.relu(torch.addcmul(shift, self.first(x_BCHW), scale), inplace=True))
        return y.float() if self.halved else y

    def gate(self, pooled_BCvv: Tensor) -> Tensor:
        """Weights of the channels in (0, 2), from their means over the whole picture or its views."""
        assert self.attend is not None
        return 2 * torch.sigmoid(self.attend(pooled_BCvv))


def views(x_BCHW: Tensor, patch: int) -> Tensor:
    """Channel means over the whole of a small picture, over four views of a large one; (B, C, 1 or 2, 1 or 2).

    A view is seven eighths of each side longer than `patch`, from one end. One mean for all of a large picture
    is further from what a net trained on patches has met; small windows make it contradict itself from
    place to place, in tone above all (measured: docs/adr/0021).
    """
    for axis in (3, 2):
        side = x_BCHW.shape[axis]
        seen = -(-side * VIEW_EIGHTHS // 8) if side > patch else side
        starts = (0, side - seen) if side > patch else (0,)
        x_BCHW = torch.stack([x_BCHW.narrow(axis, start, seen).mean(axis) for start in starts], axis)
    return x_BCHW


def spread(gate_BCvv: Tensor, top: int, rows: int, columns: int, height: int) -> Tensor:
    """Weights for `rows` x `columns` positions from row `top` of a picture of `height` rows, between its views."""
    for axis, first, count, side in ((2, top, rows, height), (3, 0, columns, columns)):
        if gate_BCvv.shape[axis] == 2:
            place = (torch.arange(first, first + count, device=gate_BCvv.device) + 0.5) / side
            place = place.to(gate_BCvv.dtype).view((-1, 1) if axis == 2 else (1, -1))
            one, other = gate_BCvv.split(1, axis)
            gate_BCvv = one + (other - one) * place
    return gate_BCvv


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
        gate = block.gate(views(y_BCHW, block.patch))
        for top in range(0, height, rows):
            band = y_BCHW[:, :, top : top + rows]
            band.mul_(spread(gate, top, band.shape[2], band.shape[3], height))
            x_BCHW[:, :, top : top + rows].add_(band)
    else:
        x_BCHW.add_(y_BCHW)
    return x_BCHW
