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
    anchors = (positives_B > 0).sum()
    return per_sample_B[positives_B > 0].sum() / anchors.clamp(min=1)
