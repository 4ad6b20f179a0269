"""What the source domain looks like to the model: computed once, after training, and published.

Axes: G degradation classes, D code width, K codes, F NIQE features, 3 colour channels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from udair.data.patches import PatchSource
from udair.data.tasks import CLASSES, make_batch
from udair.errors import BundleError
from udair.metrics import NIQE_FEATURES, niqe_features
from udair.models.appearance import appearance
from udair.models.restorer import Restorer

QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class SourceStats:
    """Statistics of the source domain.

    Attributes:
        centre_GD, precision_GDD, cov_GDD: Cluster of each degradation class in embedding space.
        quantile_G3: Mahalanobis distance, over D, below which 50, 95 and 99 % of a class lie.
        histogram_GK: Mean code histogram of each class.
        look_centre_GS, look_precision_GSS, look_quantile_G3: The same for appearance statistics:
            codes saturate (noise of sigma 75 looks like 50 to them), these do not.
        clean_mean_3, clean_spread_3: Mean of clean images' mean colours, and their deviation.
        clean_contrast_3: Mean standard deviation of clean images' pixels.
        niqe_mean_F, niqe_cov_FF: Natural-scene statistics of clean photographs.
    """

    centre_GD: Tensor
    precision_GDD: Tensor
    cov_GDD: Tensor
    quantile_G3: Tensor
    histogram_GK: Tensor
    look_centre_GS: Tensor
    look_precision_GSS: Tensor
    look_quantile_G3: Tensor
    clean_mean_3: Tensor
    clean_spread_3: Tensor
    clean_contrast_3: Tensor
    niqe_mean_F: Tensor
    niqe_cov_FF: Tensor

    def to_tensors(self) -> dict[str, Tensor]:
        """Named tensors for safetensors."""
        return {item.name: getattr(self, item.name).contiguous() for item in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> SourceStats:
        """Read what `to_tensors` wrote.

        Raises:
            BundleError: A statistic is missing.
        """
        names = [item.name for item in fields(cls)]
        missing = [name for name in names if name not in tensors]
        if missing:
            raise BundleError(f"source statistics lack {missing}; publish the base model again.")
        return cls(**{name: tensors[name] for name in names})


@torch.no_grad()
def source_statistics(
    model: Restorer, source: PatchSource, *, batches: int = 40, batch: int = 32, patch: int = 128, seed: int = 7
) -> SourceStats:
    """Embed degraded patches of the source domain and summarise each class.

    Args:
        model: Trained restorer in evaluation mode.
        source: Clean photographs.
        batches, batch, patch: How many patches of which side, pixels.
        seed: Of patches and degradations.
    """
    device = model.enter.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    embeddings, histograms, looks, labels = [], [], [], []
    means, contrasts, features = [], [], []
    for _ in range(batches):
        drawn = make_batch(source, batch, patch, generator)
        seen = model.embed(drawn.degraded_BCHW)
        embeddings.append(seen.embedding_BD.float())
        histograms.append(seen.histogram_BK)
        looks.append(appearance(drawn.degraded_BCHW))
        labels.append(drawn.label_B)
        means.append(drawn.clean_BCHW.mean((2, 3)))
        contrasts.append(drawn.clean_BCHW.std((2, 3)))
        features += [niqe_features(image) for image in drawn.clean_BCHW]
    embedding_ND, histogram_NK = torch.cat(embeddings), torch.cat(histograms)
    label_N, mean_N3 = torch.cat(labels), torch.cat(means)
    rows = torch.cat(features)
    rows = rows[torch.isfinite(rows).all(1)]
    # Sharp patches only, as NIQE's authors do: flat sky says nothing about naturalness.
    sharpness = rows[:, 1]
    rows = rows[sharpness >= sharpness.quantile(0.4)]
    assert rows.shape[1] == NIQE_FEATURES
    per_class = [_cluster(embedding_ND[label_N == g]) for g in range(len(CLASSES))]
    look_NS = torch.cat(looks)
    per_look = [_cluster(look_NS[label_N == g]) for g in range(len(CLASSES))]
    return SourceStats(
        centre_GD=torch.stack([c[0] for c in per_class]),
        precision_GDD=torch.stack([c[1] for c in per_class]),
        cov_GDD=torch.stack([c[2] for c in per_class]),
        quantile_G3=torch.stack([c[3] for c in per_class]),
        histogram_GK=torch.stack([histogram_NK[label_N == g].mean(0) for g in range(len(CLASSES))]),
        look_centre_GS=torch.stack([c[0] for c in per_look]),
        look_precision_GSS=torch.stack([c[1] for c in per_look]),
        look_quantile_G3=torch.stack([c[3] for c in per_look]),
        clean_mean_3=mean_N3.mean(0),
        clean_spread_3=mean_N3.std(0),
        clean_contrast_3=torch.cat(contrasts).mean(0),
        niqe_mean_F=rows.mean(0).float(),
        niqe_cov_FF=torch.cov(rows.T).float(),
    )


def _cluster(embedding_ND: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    centre_D = embedding_ND.mean(0)
    cov_DD = torch.cov(embedding_ND.T)
    # Shrinkage keeps the precision finite where a class does not vary at all; towards the diagonal,
    # because appearance statistics have units of their own.
    dim = cov_DD.shape[0]
    spread_D = cov_DD.diagonal()
    shrunk_DD = 0.9 * cov_DD + 0.1 * torch.diag(spread_D + 0.1 * spread_D.mean() + 1e-4)
    precision_DD = torch.linalg.inv(shrunk_DD)
    offset = embedding_ND - centre_D
    distance = torch.einsum("nd,de,ne->n", offset, precision_DD, offset) / dim
    return centre_D, precision_DD, cov_DD, torch.quantile(distance, distance.new_tensor(QUANTILES))
