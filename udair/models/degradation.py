"""What damaged this image? Pixels to a latent map, to codes, to one embedding.

Axes: B samples, H x W pixels, D code width, h x w latent grid (stride 16), K codes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from udair.config import ModelConfig
from udair.models.appearance import appearance
from udair.models.codebook import Codebook, Quantised
from udair.models.modulation import Modulation

STRIDE = 16


class Degradation(NamedTuple):
    """How the model sees one batch's degradation.

    Attributes:
        embedding_BD: Pooled codes: the only thing that conditions the restorer.
        map_BDhw: Quantised latent map, read at the restorer's bottleneck.
        histogram_BK: Share of each code in each image.
        commitment: Scalar training loss that keeps latents near their codes.
        inside_B: 1.0 where the adapter's scope holds the sample, else 0.0; ones without an adapter.
    """

    embedding_BD: Tensor
    map_BDhw: Tensor
    histogram_BK: Tensor
    commitment: Tensor
    inside_B: Tensor

    def samples(self) -> list[Degradation]:
        """Each sample of the batch as a batch of one."""
        rows = (part.split(1) for part in (self.embedding_BD, self.map_BDhw, self.histogram_BK, self.inside_B))
        return [Degradation(e, m, h, self.commitment, i) for e, m, h, i in zip(*rows, strict=True)]


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
        blurred_BCHW = F.avg_pool2d(F.pad(image_BCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        high_BCHW = 4.0 * (image_BCHW - blurred_BCHW)
        latent_BDhw = self.head(self.trunk(torch.cat([image_BCHW - 0.5, high_BCHW], 1)))
        return F.layer_norm(latent_BDhw.permute(0, 2, 3, 1), (latent_BDhw.shape[1],)).permute(0, 3, 1, 2)

    def forward(self, image_BCHW: Tensor, modulation: Modulation | None = None) -> Degradation:
        """Embed a batch; sides are multiples of 16. An adapter moves codes and projects the result."""
        return self.modulate(self.codebook(self.latent(image_BCHW)), image_BCHW, modulation)

    def modulate(self, quantised: Quantised, image_BCHW: Tensor, modulation: Modulation | None) -> Degradation:
        """Pool codes to the embedding, through an adapter's offsets and projection where it applies."""
        map_BDhw = quantised.map_BDhw
        embedding_BD = map_BDhw.mean((2, 3))
        inside_B = torch.ones_like(embedding_BD[:, 0])
        if modulation is not None:
            inside_B = modulation.inside(scope_features(embedding_BD, image_BCHW)).to(map_BDhw.dtype)
            offset_BDhw = _gather_offsets(modulation.codes_BKD, quantised.indices_Bhw)
            map_BDhw = map_BDhw + inside_B[:, None, None, None] * offset_BDhw
            moved_BD = project(map_BDhw.mean((2, 3)), modulation)
            embedding_BD = torch.where(inside_B[:, None] > 0, moved_BD, embedding_BD)
        return Degradation(embedding_BD, map_BDhw, quantised.histogram_BK, quantised.commitment, inside_B)


def scope_features(embedding_BD: Tensor, image_BCHW: Tensor) -> Tensor:
    """What decides whether an adapter applies: unmodulated embedding, then appearance; (B, S)."""
    return torch.cat([embedding_BD.float(), appearance(image_BCHW)], 1)


def project(embedding_BD: Tensor, modulation: Modulation) -> Tensor:
    """Carry target embeddings into the source's space: e + P e + b (UDAIR's DAM, our form)."""
    moved_BD = torch.bmm(modulation.projection_BDD, embedding_BD[:, :, None]).squeeze(2)
    return embedding_BD + moved_BD + modulation.bias_BD


def _gather_offsets(codes_BKD: Tensor, indices_Bhw: Tensor) -> Tensor:
    batch, height, width = indices_Bhw.shape
    dim = codes_BKD.shape[2]
    index_BND = indices_Bhw.reshape(batch, -1, 1).expand(-1, -1, dim)
    return codes_BKD.gather(1, index_BND).view(batch, height, width, dim).permute(0, 3, 1, 2)
