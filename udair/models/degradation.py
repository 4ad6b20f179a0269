"""What damaged this image? Pixels to a latent map, to codes, to one embedding.

Axes: B samples, H x W pixels, D code width, h x w latent grid (stride 16), K codes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udair.config import ModelConfig
from udair.models.appearance import appearance
from udair.models.codebook import Codebook, Quantised
from udair.models.modulation import Modulation
from udair.models.padding import pad, smoothed, window
from udair.models.tone_curve import bends, toned

STRIDE = 16
BAND_PIXELS = 2**21  # above it a picture is looked at in bands
SAMPLE_SIDE = 256  # of the windows that stand for a large picture's appearance, pixels


class Degradation(NamedTuple):
    """How the model sees one batch's degradation.

    Attributes:
        embedding_BD: Pooled codes, through an adapter's projection: they condition the restorer.
        codes_BD: Pooled codes before the projection, read at the restorer's bottleneck.
        map_BDhw: Quantised latent map; nothing but losses looks at its places (docs/adr/0021).
        histogram_BK: Share of each code in each image.
        commitment: Scalar training loss that keeps latents near their codes.
        inside_B: 1.0 where the adapter's scope holds the sample, else 0.0; ones without an adapter.
    """

    embedding_BD: Tensor
    codes_BD: Tensor
    map_BDhw: Tensor
    histogram_BK: Tensor
    commitment: Tensor
    inside_B: Tensor


class DegradationEncoder(nn.Module):
    """Degradation aware and analysis module (DAAM): strided convolutions over residual statistics.

    Beside the pixels it sees their high-pass residual, amplified, so that the cheap first layer
    meets noise, streaks and missing detail before content. Latents are layer-normalised, which
    keeps the codebook's distances on one scale through training.

    Source: UDAIR (arXiv 2505.22284), DAAM: "a convolutional network first extracts low-dimensional
    latent features", then the nearest code. Depth, stride and the high-pass input are our reading.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        w = config.embedder_width
        widths = (6, w, w * 3 // 2, w * 2, w * 3)
        layers: list[nn.Module] = []
        for entering, leaving in pairwise(widths):
            layers += [nn.Conv2d(entering, leaving, 3, stride=2, padding=1), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        for layer in self.trunk:
            if isinstance(layer, nn.Conv2d):
                # Default weights shrink the signal below the biases: every latent, and so every
                # code, would start the same.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self.head = nn.Conv2d(widths[-1], config.code_dim, 1)
        self.codebook = Codebook(config.codes, config.code_dim)

    def latent(self, image_BCHW: Tensor) -> Tensor:
        """Normalised latent map (B, D, H/16, W/16) before quantisation."""
        high_BCHW = 4.0 * (image_BCHW - smoothed(image_BCHW))
        latent_BDhw = self.head(self.trunk(torch.cat([image_BCHW - 0.5, high_BCHW], 1)))
        return F.layer_norm(latent_BDhw.permute(0, 2, 3, 1), (latent_BDhw.shape[1],)).permute(0, 3, 1, 2)

    def latent_in_bands(self, image_BCHW: Tensor, rows: int) -> Tensor:
        """What `latent` gives for a padded picture, from bands of it: memory is that of one band.

        Args:
            image_BCHW: The picture as it came.
            rows: Height of a band, pixels; a multiple of 16.
        """
        height, width = (side + -side % STRIDE for side in image_BCHW.shape[2:])
        bands = []
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            # A latent vector sees 16 pixels beyond its own 16.
            above, below = min(STRIDE, top), min(STRIDE, height - bottom)
            piece = window(image_BCHW, STRIDE, top - above, 0, bottom - top + above + below, width)
            skip = above // STRIDE
            bands.append(self.latent(piece)[:, :, skip : skip + (bottom - top) // STRIDE])
        return torch.cat(bands, 2)

    def forward(self, image_BCHW: Tensor, modulation: Modulation | None = None) -> Degradation:
        """Embed a batch of any size. An adapter moves codes and projects the result.

        Whether it applies is decided on the pixels as they came; what it does, on those behind its tone curve.
        """
        seen = self.modulate(self._quantised(image_BCHW), image_BCHW, modulation)
        if modulation is None or not bends(modulation.curve_B3T):
            return seen
        toned_BCHW = toned(image_BCHW, modulation.curve_B3T, seen.inside_B)
        return self.modulate(self._quantised(toned_BCHW), toned_BCHW, modulation, seen.inside_B)

    def _quantised(self, image_BCHW: Tensor) -> Quantised:
        height, width = image_BCHW.shape[2:]
        if self.training or len(image_BCHW) * height * width <= BAND_PIXELS:
            latent_BDhw = self.latent(pad(image_BCHW, STRIDE))
        else:
            rows = max(STRIDE, BAND_PIXELS // (len(image_BCHW) * width) // STRIDE * STRIDE)
            latent_BDhw = self.latent_in_bands(image_BCHW, rows)
        quantised: Quantised = self.codebook(latent_BDhw)
        return quantised

    def modulate(
        self, quantised: Quantised, image_BCHW: Tensor, modulation: Modulation | None, inside_B: Tensor | None = None
    ) -> Degradation:
        """Pool codes to the embedding, through an adapter's offsets and projection where it applies: see `inside_B`."""
        map_BDhw = quantised.map_BDhw
        codes_BD = embedding_BD = map_BDhw.mean((2, 3))
        if modulation is None:
            inside_B = torch.ones_like(codes_BD[:, 0])
        else:
            if inside_B is None:
                inside_B = modulation.inside(scope_features(codes_BD, image_BCHW)).to(map_BDhw.dtype)
            offset_BDhw = _gather_offsets(modulation.codes_BKD, quantised.indices_Bhw)
            map_BDhw = map_BDhw + inside_B[:, None, None, None] * offset_BDhw
            codes_BD = map_BDhw.mean((2, 3))
            embedding_BD = torch.where(inside_B[:, None] > 0, project(codes_BD, modulation), codes_BD)
        return Degradation(embedding_BD, codes_BD, map_BDhw, quantised.histogram_BK, quantised.commitment, inside_B)


def scope_features(embedding_BD: Tensor, image_BCHW: Tensor) -> Tensor:
    """What decides whether an adapter applies: unmodulated embedding, then appearance; (B, S).

    The appearance of a large picture is that of windows spread over it: its cost stays bounded.
    """
    return torch.cat([embedding_BD.float(), appearance(pad(_sampled(image_BCHW), STRIDE))], 1)


def _sampled(image_BCHW: Tensor) -> Tensor:
    """At most `BAND_PIXELS` of a picture: whole windows of it, evenly spread, side by side."""
    for axis in (2, 3):
        side = image_BCHW.shape[axis]
        most = max(1, math.isqrt(BAND_PIXELS) // SAMPLE_SIDE)
        if side > most * SAMPLE_SIDE:
            begins = torch.linspace(0, side // SAMPLE_SIDE - 1, most).round().long() * SAMPLE_SIDE
            places = (begins[:, None] + torch.arange(SAMPLE_SIDE)).flatten().to(image_BCHW.device)
            image_BCHW = image_BCHW.index_select(axis, places)
    return image_BCHW


def project(embedding_BD: Tensor, modulation: Modulation) -> Tensor:
    """Carry target embeddings into the source's space: e + P e + b (UDAIR's DAM, our form)."""
    moved_BD = torch.bmm(modulation.projection_BDD, embedding_BD[:, :, None]).squeeze(2)
    return embedding_BD + moved_BD + modulation.bias_BD


def _gather_offsets(codes_BKD: Tensor, indices_Bhw: Tensor) -> Tensor:
    batch, height, width = indices_Bhw.shape
    dim = codes_BKD.shape[2]
    index_BND = indices_Bhw.reshape(batch, -1, 1).expand(-1, -1, dim)
    return codes_BKD.gather(1, index_BND).view(batch, height, width, dim).permute(0, 3, 1, 2)
