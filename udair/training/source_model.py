"""The restorer with the two heads that only training uses; its forward is the whole loss.

Axes: B patches, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from udair.config import TONES, ModelConfig, TrainConfig
from udair.data.tasks import CLASSES, Batch
from udair.losses.contrastive import contrastive_loss, covariance_contrastive_loss
from udair.losses.restoration import restoration_loss, tone_loss
from udair.models.degradation import Degradation
from udair.models.restorer import Restorer

KEEP = TONES.index("keep")


class SourceModel(nn.Module):
    """One forward gives the loss, so that DistributedDataParallel sees every parameter once a step.

    No shape in it depends on the data, and nothing waits for the device: a CUDA graph can hold it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.restorer = Restorer(config)
        self.class_head = nn.Linear(config.code_dim, len(CLASSES))
        self.severity_head = nn.Linear(config.code_dim, 1)

    def forward(self, batch: Batch, weights: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and its parts detached.

        Source: UDAIR (arXiv 2505.22284) for commitment and CSCL; Fourier term, heads and intents are ours.
        """
        degradation = self.restorer.embed(batch.degraded_BCHW)
        restored = self.restorer(batch.degraded_BCHW, degradation=degradation, tone=batch.tone_B)
        embedding_BD = degradation.embedding_BD
        parts = {
            "restoration": restoration_loss(restored, batch.clean_BCHW, weights.fft_weight),
            "tone": weights.tone_weight * tone_loss(restored, batch.clean_BCHW, batch.tone_B == KEEP),
            "commitment": weights.commitment_weight * degradation.commitment,
            "contrast": weights.contrast_weight * _contrast(degradation, batch.label_B, weights.covariance_contrast),
            "class": weights.class_weight
            * nn.functional.cross_entropy(self.class_head(embedding_BD).float(), batch.label_B),
            "severity": weights.severity_weight * self._severity_loss(embedding_BD, batch.severity_B),
        }
        total = torch.stack(list(parts.values())).sum()
        with torch.no_grad():
            error = (restored.float().clamp(0, 1) - batch.clean_BCHW).square().flatten(1).mean(1)
            parts["psnr_db"] = (-10 * error.clamp(min=1e-10).log10()).mean()
        return total, {name: part.detach() for name, part in parts.items()}

    def _severity_loss(self, embedding_BD: Tensor, severity_B: Tensor) -> Tensor:
        """Mean squared error where the severity is known: real pairs do not say."""
        known_B = torch.isfinite(severity_B)
        error_B = self.severity_head(embedding_BD).squeeze(1).float().sigmoid() - severity_B.nan_to_num()
        loss: Tensor = (error_B.square() * known_B).sum() / known_B.sum().clamp(min=1)
        return loss


def _contrast(degradation: Degradation, label_B: Tensor, covariance_share: float) -> Tensor:
    loss = degradation.embedding_BD.new_zeros(())
    if covariance_share < 1:
        loss = loss + (1 - covariance_share) * contrastive_loss(degradation.embedding_BD, label_B)
    if covariance_share > 0:
        loss = loss + covariance_share * covariance_contrastive_loss(degradation.map_BDhw, label_B)
    return loss
