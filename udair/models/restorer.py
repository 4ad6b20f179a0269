"""The all-in-one restorer: a dense residual U-Net that the degradation embedding and an intent condition.

Its forward has three parts, so that pictures larger than memory can be run without a seam: `shallow`
and `finish` see a few neighbours only and may be run on pieces; `deep`, an eighth of the side, holds
everything that depends on the whole picture and is run on all of it (`udair/inference.py`).

Axes: B samples, C channels, H x W pixels, h x w positions of the deep part, D code width, K codes,
F modulations of all blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udair.config import TONES, ModelConfig, Tone, check_tone
from udair.errors import ShapeError
from udair.models.blocks import DenseBlock, run_in_bands
from udair.models.conditions import Conditions
from udair.models.degradation import Degradation, DegradationEncoder
from udair.models.modulation import Modulation
from udair.models.padding import pad
from udair.models.tone_curve import toned

# Levels that see neighbours alone; those below attend over channels and are run on whole pictures.
SHALLOW_LEVELS = 2
# Side of the largest patches of training, pixels: channel attention sees more in views.
LARGEST_PATCH = 192


class Restorer(nn.Module):
    """One model for all degradations, blind: it is never told which one it sees.

    What it is told is the intent, chosen by people: whether exposure, colour and haze are to stay
    (``keep``) or to be corrected (``restore``). One learned row for each is added to the embedding.

    Source: UDAIR (arXiv 2505.22284) for the codebook-conditioned design; the paper's backbone is a
    vision transformer, ours is a U-Net of plain convolutions (docs/adr/0020). The intent is ours.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.degradation = DegradationEncoder(config)
        widths, dim = config.widths, config.code_dim
        self.enter = nn.Conv2d(3 * config.stem**2, widths[0], 3, padding=1)
        self.leave = nn.Conv2d(widths[0], 3 * config.stem**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        self.intent_2D = nn.Parameter(torch.zeros(len(TONES), dim))
        self.films = 0  # F
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in range(len(widths) - 1):
            self.encoders.append(self._blocks(level))
            self.downs.append(nn.Conv2d(widths[level], widths[level + 1], 2, stride=2, bias=False))
        self.middle = self._blocks(len(widths) - 1)
        self.read_codes = nn.Conv2d(dim, widths[-1], 1)
        nn.init.zeros_(self.read_codes.weight)
        for level in reversed(range(len(widths) - 1)):
            widen = nn.Conv2d(widths[level + 1], 4 * widths[level], 1, bias=False)
            self.ups.append(nn.Sequential(widen, nn.PixelShuffle(2)))
            self.decoders.append(self._blocks(level))

    def _blocks(self, level: int) -> nn.ModuleList:
        attend, patch = level >= self.shallow_levels, LARGEST_PATCH // (self.config.stem << level)
        made = nn.ModuleList()
        for _ in range(self.config.counts[level]):
            made.append(DenseBlock(self.config.widths[level], self.config.code_dim, self.films, attend, patch))
            self.films += 2 * self.config.widths[level]
        return made

    @property
    def shallow_levels(self) -> int:
        """Number of levels that see neighbours alone."""
        return min(SHALLOW_LEVELS, len(self.config.widths) - 1)

    @property
    def deep_stride(self) -> int:
        """Side of a position of the deep part, pixels."""
        return self.config.stem << self.shallow_levels

    @property
    def reach(self) -> int:
        """How far `shallow`, and `finish` again, see to each side, pixels; rounded up to `deep_stride`."""
        counts = self.config.counts[: self.shallow_levels]
        seen = self.config.stem * (1 + sum(2 * count << level for level, count in enumerate(counts)))
        return -(-seen // self.deep_stride) * self.deep_stride

    def identity(self, batch: int = 1) -> Modulation:
        """The modulation that changes nothing, on this model's device."""
        readout = self.leave.weight.shape[:2]
        return Modulation.identity(
            batch,
            self.config.code_dim,
            self.config.codes,
            self.films,
            (readout[0], readout[1]),
            self.leave.weight.device,
        )

    def embed(self, image_BCHW: Tensor, modulation: Modulation | None = None) -> Degradation:
        """How the model sees the degradation of a batch of any size; in bands where that is large."""
        return self.degradation(image_BCHW, modulation)  # type: ignore[no-any-return]

    def conditions(
        self, degradation: Degradation, modulation: Modulation | None = None, tone: Tone | Tensor = "keep"
    ) -> Conditions:
        """What is decided about each picture of a batch, once.

        Args:
            degradation: From `embed`, with the same modulation.
            modulation: One row a sample; None is the source model.
            tone: The intent of all, or of each: (B,) indices into `udair.config.TONES`.
        """
        batch = len(degradation.codes_BD)
        if isinstance(tone, str):
            intent_BD = self.intent_2D[TONES.index(check_tone(tone))].expand(batch, -1)
        elif tone.shape == (batch,):
            # Not an index: its gradient would sort, and the whole step may be a CUDA graph.
            intent_BD = torch.where(tone[:, None] == 0, self.intent_2D[0], self.intent_2D[1])
        else:
            raise ShapeError("tone", tuple(tone.shape), f"({batch},), an index of {', '.join(TONES)} for each sample")
        return Conditions.of(degradation, intent_BD, modulation)

    def forward(
        self,
        image_BCHW: Tensor,
        modulation: Modulation | None = None,
        degradation: Degradation | None = None,
        tone: Tone | Tensor = "keep",
    ) -> Tensor:
        """Restore a batch, each picture as a whole.

        Args:
            image_BCHW: RGB in [0, 1], any height and width.
            modulation: One row for all or one per sample; None is the source model.
            degradation: From `embed`, where the caller knows it.
            tone: What may change: see `conditions`.

        Returns:
            RGB of the same shape, not clamped.

        Raises:
            ShapeError: The image is not (B, 3, H, W).
            ConfigError: The tone is none.
        """
        if image_BCHW.ndim != 4 or image_BCHW.shape[1] != 3:
            raise ShapeError("image_BCHW", tuple(image_BCHW.shape), "(B, 3, H, W)")
        batch, _, height, width = image_BCHW.shape
        if modulation is not None:
            modulation = modulation.expand(batch)
        if degradation is None:
            degradation = self.embed(image_BCHW, modulation)
        if modulation is not None:
            image_BCHW = toned(image_BCHW, modulation.curve_B3T, degradation.inside_B)
        given = self.conditions(degradation, modulation, tone)
        residual = self.residual(pad(image_BCHW, self.config.stride), given)
        return compose(image_BCHW, residual[:, :, :height, :width], given)

    def residual(self, x: Tensor, given: Conditions) -> Tensor:
        """The U-Net: what is added to padded pixels (B, 3, H, W)."""
        entered, skips = self.shallow(x, given)
        features = deque(self.deep(entered, given), maxlen=1).pop()
        return self.finish(features, skips, given)

    def shallow(self, x: Tensor, given: Conditions) -> tuple[Tensor, list[Tensor]]:
        """Padded pixels (B, 3, H, W) to the deep part's input (B, C, h, w), and what `finish` needs beside it."""
        x = self.enter(_channels_last(F.pixel_unshuffle(x, self.config.stem)))
        skips: list[Tensor] = []
        for blocks, down in zip(self.encoders[: self.shallow_levels], self.downs, strict=False):
            x = _run(blocks, x, given)
            skips.append(x)
            x = down(x)
        return x, skips

    def deep(self, x: Tensor, given: Conditions, rows: int | None = None) -> Iterator[Tensor]:
        """Everything that depends on the whole picture, a block at a time; the last value is the result.

        Args:
            x: From `shallow`, of the whole picture; overwritten where `rows` is given.
            given: The picture's conditions.
            rows: Run in bands of so many positions: less memory, the same numbers.
        """
        skips: list[Tensor] = []
        for level in range(self.shallow_levels, len(self.encoders)):
            for block in self.encoders[level].children():
                x = _step(block, x, given, rows)
                yield x
            skips.append(x)
            x = self.downs[level](x)
            yield x
        x = x + self.read_codes(given.codes_BD[:, :, None, None])
        for block in self.middle:
            x = _step(block, x, given, rows)
            yield x
        for place in range(len(skips)):  # the coarsest first
            if rows is None:
                x = _joined(self.ups[place](x), skips.pop())
            else:
                x = _joined_in_bands(self.ups[place], x, skips.pop(), rows)
            for block in self.decoders[place].children():
                x = _step(block, x, given, rows)
                yield x

    def finish(self, x: Tensor, skips: list[Tensor], given: Conditions) -> Tensor:
        """The deep part's result (B, C, h, w) to what is added to padded pixels (B, 3, H, W)."""
        first = len(self.ups) - self.shallow_levels
        for blocks, up in zip(self.decoders[first:], self.ups[first:], strict=True):
            x = _run(blocks, _joined(up(x), skips.pop()), given)
        out: Tensor = self.leave(x)
        if given.change is not None:
            out = out + torch.einsum("boc,bchw->bohw", given.change.readout_BOC.to(x.dtype), x)
        return F.pixel_shuffle(out, self.config.stem)


def compose(image_BCHW: Tensor, residual_BCHW: Tensor, given: Conditions) -> Tensor:
    """Pixels and what the U-Net adds to them, with an adapter's gain and output affine."""
    if given.change is None:
        return image_BCHW + residual_BCHW
    restored = image_BCHW + (1 + given.change.gain_B)[:, None, None, None] * residual_BCHW
    scale, shift = given.change.affine_B6[:, :, None, None].chunk(2, 1)
    return restored * (1 + scale) + shift


def _run(blocks: nn.Module, x: Tensor, given: Conditions) -> Tensor:
    for block in blocks.children():
        x = _step(block, x, given, None)
    return x


def _step(block: nn.Module, x: Tensor, given: Conditions, rows: int | None) -> Tensor:
    assert isinstance(block, DenseBlock)
    delta_BF = None if given.change is None else given.change.film_BF
    if rows is not None:
        return run_in_bands(block, x, given.embedding_BD, delta_BF, rows)
    transformed: Tensor = block(x, given.embedding_BD, delta_BF)
    return transformed


def _joined(x: Tensor, skip: Tensor) -> Tensor:
    return _channels_last(x + skip)


def _joined_in_bands(up: nn.Module, x: Tensor, skip: Tensor, rows: int) -> Tensor:
    """The same, added to the skip where it lies: no further map of its size."""
    for top in range(0, x.shape[2], rows):
        band = up(x[:, :, top : top + rows])
        skip[:, :, 2 * top : 2 * top + band.shape[2]].add_(band)
    return skip


def _channels_last(x: Tensor) -> Tensor:
    # Dense convolutions are fastest there; pixel shuffles lose the layout.
    return x.contiguous(memory_format=torch.channels_last)
