"""Alignment of target embeddings with the source's clusters: the paper's DAM and CORAL.

Axes: N target samples, B one batch, D code width, K codes, G source clusters.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from udair.config import AlignmentConfig
from udair.errors import AdaptationError
from udair.losses.alignment import centre_pull, cluster_distance
from udair.losses.coral import coral_distance, covariance
from udair.models.modulation import Modulation
from udair.source_stats import SourceStats


def assigned_cluster(embedding_ND: Tensor, stats: SourceStats) -> int:
    """The source cluster nearest to most target samples."""
    distance_NG = cluster_distance(embedding_ND, stats.centre_GD, stats.precision_GDD)
    return int(torch.mode(distance_NG.argmin(1)).values)


def align(
    embedding_ND: Tensor, stats: SourceStats, row: Modulation, config: AlignmentConfig | None = None
) -> tuple[Modulation, dict[str, float]]:
    """Fit the projection so that target embeddings match the source cluster they belong to.

    Minimises the centre pull plus the CORAL distance to the assigned cluster's covariance, with a
    ridge on the projection. Touches `projection` and `bias` alone; no image is needed.

    Args:
        embedding_ND: Unmodulated target embeddings, N >= 2.
        stats: Source statistics.
        row: One row to start from; it is not changed.
        config: Steps, weights, which parameters move.

    Returns:
        The fitted row, and `coral_before`, `coral_after`, `pull_before`, `pull_after`.

    Raises:
        AdaptationError: The loss became not finite (NAN_LOSS).

    Source: UDAIR (arXiv 2505.22284), DAM and CORAL-based test-time adaptation; optimiser, ridge and
    covariance of the assigned cluster alone are our reading.
    """
    config = config or AlignmentConfig()
    cluster = assigned_cluster(embedding_ND, stats)
    cov_DD = stats.cov_GDD[cluster]
    projection = row.projection_BDD.clone()
    bias = row.bias_BD.clone()
    moving = [
        part.requires_grad_(True)
        for name, part in (("projection", projection), ("bias", bias))
        if name in config.parameters
    ]
    optimizer = torch.optim.Adam(moving, lr=config.learning_rate)
    embedding_ND = embedding_ND.float().detach()
    first = last = (0.0, 0.0)
    for step in range(config.steps + 1):
        moved_ND = embedding_ND + embedding_ND @ projection[0].T + bias
        pull = centre_pull(moved_ND, stats.centre_GD, stats.precision_GDD, config.assignment_temperature)
        coral = coral_distance(cov_DD, covariance(moved_ND))
        ridge = config.fallback_strength * projection.square().sum()
        loss = pull + config.coral_weight * coral * moved_ND.shape[1] ** 2 + ridge
        if not torch.isfinite(loss):
            raise AdaptationError(
                "NAN_LOSS", f"alignment loss is {loss.item()} at step {step}; the source model is kept."
            )
        last = (float(coral.detach()), float(pull.detach()))
        first = last if step == 0 else first
        if step == config.steps:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if config.projection_rank:
            _lower_rank(projection, config.projection_rank)
    fitted = replace(row, projection_BDD=projection.detach(), bias_BD=bias.detach())
    return fitted, {
        "coral_before": first[0], "coral_after": last[0], "pull_before": first[1], "pull_after": last[1],
    }  # fmt: skip


@torch.no_grad()
def _lower_rank(projection_BDD: Tensor, rank: int) -> None:
    """Replace each projection by the nearest one of that rank, in place (Eckart and Young 1936)."""
    left, size, right = torch.linalg.svd(projection_BDD)
    size[:, rank:] = 0
    projection_BDD.copy_(left @ torch.diag_embed(size) @ right)
