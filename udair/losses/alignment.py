"""Pull of target embeddings towards the source cluster that each belongs to.

Axes: B samples, D code width, G source clusters (one a degradation).
"""

from __future__ import annotations

import torch
from torch import Tensor

from udair.errors import ShapeError


def cluster_distance(embedding_BD: Tensor, centre_GD: Tensor, precision_GDD: Tensor) -> Tensor:
    """Squared Mahalanobis distance (B, G) of every embedding to every source cluster.

    Raises:
        ShapeError: Widths differ.
    """
    if embedding_BD.shape[1] != centre_GD.shape[1]:
        raise ShapeError("embedding_BD", tuple(embedding_BD.shape), f"(B, {centre_GD.shape[1]})")
    offset_BGD = embedding_BD.float()[:, None] - centre_GD[None]
    return torch.einsum("bgd,gde,bge->bg", offset_BGD, precision_GDD, offset_BGD)


def centre_pull(embedding_BD: Tensor, centre_GD: Tensor, precision_GDD: Tensor, softness: float = 1.0) -> Tensor:
    """Mean over the batch of the soft minimum of the distances to the source clusters, over D.

    Soft, so that an embedding between two clusters is not torn to one of them by rounding.

    Source: UDAIR (arXiv 2505.22284): "tightening the degradation embeddings to the corresponding
    cluster center in the source domain". The Mahalanobis metric and the soft assignment are our
    reading.
    """
    distance_BG = cluster_distance(embedding_BD, centre_GD, precision_GDD) / embedding_BD.shape[1]
    share_BG = torch.softmax(-distance_BG.detach() / softness, 1)
    return (share_BG * distance_BG).sum(1).mean()
