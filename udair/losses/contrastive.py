"""Cross-sample contrastive learning: same degradation, other content, is a positive pair.

Axes: B samples, D code width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.errors import ShapeError


def contrastive_loss(embedding_BD: Tensor, label_B: Tensor, temperature: float = 0.2) -> Tensor:
    """Supervised InfoNCE over a batch, with the degradation as class.

    Positives are *different images with the same degradation*; negatives carry other degradations.
    It separates degradation from content. Samples without a positive do not count; with no positive
    pair at all the loss is zero. Embeddings are centred over the batch first: pooled codes share a
    large mean that would hide their differences from the cosine.

    Raises:
        ShapeError: Not (B, D) with B labels.

    Source: UDAIR (arXiv 2505.22284), CSCL; Khosla et al. 2020, eq. 2. Temperature and centring are
    our reading.
    """
    if embedding_BD.ndim != 2 or label_B.shape != embedding_BD.shape[:1]:
        raise ShapeError("embedding_BD", tuple(embedding_BD.shape), f"(B, D) with B = {tuple(label_B.shape)}")
    centred_BD = embedding_BD.float() - embedding_BD.float().mean(0, keepdim=True)
    unit_BD = F.normalize(centred_BD, dim=1)
    logits_BB = unit_BD @ unit_BD.T / temperature
    itself_BB = torch.eye(len(label_B), dtype=torch.bool, device=label_B.device)
    positive_BB = (label_B[:, None] == label_B[None, :]) & ~itself_BB
    log_share_BB = logits_BB - logits_BB.masked_fill(itself_BB, float("-inf")).logsumexp(1, keepdim=True)
    positives_B = positive_BB.sum(1)
    per_sample_B = -log_share_BB.masked_fill(~positive_BB, 0.0).sum(1) / positives_B.clamp(min=1)
    # Samples without a positive add zero: no shape depends on the labels, so a CUDA graph can hold this.
    return per_sample_B.sum() / (positives_B > 0).sum().clamp(min=1)


def covariance_contrastive_loss(map_BDhw: Tensor, label_B: Tensor, temperature: float = 0.2) -> Tensor:
    """The same contrast between covariances of each sample's latent map instead of their means.

    How features vary together inside an image says which degradation it carries even where their
    mean does not. Entries are square-rooted with their sign, so that a few large variances do not
    drown the rest; the covariance's diagonal and upper half are compared.

    Raises:
        ShapeError: Not (B, D, h, w).

    Source: MIRAGE (covariance-space InfoNCE). Signed roots instead of its matrix logarithm are our
    reading: a map of h w < D positions has a singular covariance, whose logarithm has no gradient.
    """
    if map_BDhw.ndim != 4:
        raise ShapeError("map_BDhw", tuple(map_BDhw.shape), "(B, D, h, w)")
    latent_BDN = map_BDhw.float().flatten(2)
    centred_BDN = latent_BDN - latent_BDN.mean(2, keepdim=True)
    covariance_BDD = centred_BDN @ centred_BDN.transpose(1, 2) / latent_BDN.shape[2]
    row, column = torch.triu_indices(latent_BDN.shape[1], latent_BDN.shape[1], device=map_BDhw.device)
    entry_BE = covariance_BDD[:, row, column]
    return contrastive_loss(entry_BE.sign() * (entry_BE.abs() + 1e-6).sqrt(), label_B, temperature)
