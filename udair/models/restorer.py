"""The all-in-one restorer: a NAFNet-type U-Net that only the degradation embedding conditions.

Axes: B samples, C channels, H x W pixels, D code width, K codes, F modulations of all blocks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udair.config import ModelConfig
from udair.errors import ShapeError
from udair.models.blocks import NAFBlock
from udair.models.degradation import Degradation, DegradationEncoder
from udair.models.modulation import Modulation

# Side of the pooling window of channel attention, pixels at full resolution (see blocks.local_mean).
POOL_WINDOW = 192


class Restorer(nn.Module):
    """One model for all degradations, blind: it is never told which one it sees.

    Source: UDAIR (arXiv 2505.22284) for the codebook-conditioned design; the paper's backbone is a
    vision transformer, ours is NAFNet-type for a fraction of the compute (docs/method.md).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.degradation = DegradationEncoder(config)
        width, dim = config.width, config.code_dim
        self.enter = nn.Conv2d(3 * config.stem**2, width, 3, padding=1)
        self.leave = nn.Conv2d(width, 3 * config.stem**2, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        window = POOL_WINDOW // config.stem
        for count in config.encoder_blocks:
            self.encoders.append(_blocks(count, width, dim, window))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width, window = 2 * width, window // 2
        self.middle = _blocks(config.middle_blocks, width, dim, window)
        self.read_codes = nn.Conv2d(dim, width, 1)
        nn.init.zeros_(self.read_codes.weight)
        for count in config.decoder_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width, window = width // 2, window * 2
            self.decoders.append(_blocks(count, width, dim, window))

    @property
    def films(self) -> int:
        """F: number of FiLM modulations of all blocks."""
        return sum(block.films for block in self.modules() if isinstance(block, NAFBlock))

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
        """How the model sees the degradation of a batch of any size."""
        return self.degradation(_pad(image_BCHW, self.config.stride), modulation)  # type: ignore[no-any-return]

    def forward(
        self, image_BCHW: Tensor, modulation: Modulation | None = None, degradation: Degradation | None = None
    ) -> Tensor:
        """Restore a batch.

        Args:
            image_BCHW: RGB in [0, 1], any height and width.
            modulation: One row for all or one per sample; None is the source model.
            degradation: From `embed`, when the pixels are a tile of a larger image.

        Returns:
            RGB of the same shape, not clamped.

        Raises:
            ShapeError: The image is not (B, 3, H, W).
        """
        if image_BCHW.ndim != 4 or image_BCHW.shape[1] != 3:
            raise ShapeError("image_BCHW", tuple(image_BCHW.shape), "(B, 3, H, W)")
        batch, _, height, width = image_BCHW.shape
        if modulation is not None:
            modulation = modulation.expand(batch)
        if degradation is None:
            degradation = self.embed(image_BCHW, modulation)
        residual = self.residual(_pad(image_BCHW, self.config.stride), degradation, modulation)
        residual = residual[:, :, :height, :width]
        if modulation is None:
            return image_BCHW + residual
        inside = degradation.inside_B[:, None]
        restored = image_BCHW + (1 + modulation.gain_B[:, None] * inside)[:, :, None, None] * residual
        scale, shift = (modulation.affine_B6 * inside)[:, :, None, None].chunk(2, 1)
        return restored * (1 + scale) + shift

    def residual(self, x: Tensor, degradation: Degradation, modulation: Modulation | None) -> Tensor:
        """The U-Net: what is added to padded pixels (B, 3, H, W), given their degradation."""
        embedding_BD = degradation.embedding_BD
        film_BF = None if modulation is None else modulation.film_BF * degradation.inside_B[:, None]
        offset = 0

        def run(blocks: nn.ModuleList, x: Tensor) -> Tensor:
            nonlocal offset
            for block in blocks:
                assert isinstance(block, NAFBlock)
                delta = None if film_BF is None else film_BF[:, offset : offset + block.films]
                offset += block.films
                x = block(x, embedding_BD, delta)
            return x

        x = self.enter(F.pixel_unshuffle(x, self.config.stem))
        skips: list[Tensor] = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            x = run(blocks, x)  # type: ignore[arg-type]
            skips.append(x)
            x = down(x)
        codes = self.read_codes(degradation.map_BDhw)
        x = x + F.interpolate(codes, size=x.shape[2:], mode="nearest")
        x = run(self.middle, x)
        for blocks, up in zip(self.decoders, self.ups, strict=True):
            x = run(blocks, up(x) + skips.pop())  # type: ignore[arg-type]
        out = self.leave(x)
        if modulation is not None:
            readout_BOC = modulation.readout_BOC * degradation.inside_B[:, None, None]
            out = out + torch.einsum("boc,bchw->bohw", readout_BOC.to(x.dtype), x)
        return F.pixel_shuffle(out, self.config.stem)


def _blocks(count: int, channels: int, code_dim: int, window: int) -> nn.ModuleList:
    return nn.ModuleList(NAFBlock(channels, code_dim, window) for _ in range(count))


def _pad(image_BCHW: Tensor, multiple: int) -> Tensor:
    height, width = image_BCHW.shape[2:]
    right, bottom = -width % multiple, -height % multiple
    if not right and not bottom:
        return image_BCHW
    # Reflection needs a side larger than the padding; tiny images repeat their edge instead.
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image_BCHW, (0, right, 0, bottom), mode=mode)
