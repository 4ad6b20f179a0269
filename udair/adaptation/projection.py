"""Alignment of target embeddings with the source's clusters: the paper's DAM and CORAL.

Axes: N target samples, B one batch, D code width, K codes, G source clusters.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

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
    embedding_ND: Tensor, stats: SourceStats, row: Modulation, *, steps: int = 60, learning_rate: float = 0.02
) -> tuple[Modulation, dict[str, float]]:
    """Fit the projection so that target embeddings match the source cluster they belong to.

    Minimises the centre pull plus the CORAL distance to the assigned cluster's covariance, with a
    ridge on the projection. Touches `projection` and `bias` alone; no image is needed.

    Args:
        embedding_ND: Unmodulated target embeddings, N >= 2.
        stats: Source statistics.
        row: One row to start from; it is not changed.
        steps, learning_rate: Of Adam.

    Returns:
        The fitted row, and `coral_before`, `coral_after`, `pull_before`, `pull_after`.

    Raises:
        AdaptationError: The loss became not finite (NAN_LOSS).

    Source: UDAIR (arXiv 2505.22284), DAM and CORAL-based test-time adaptation; optimiser, ridge and
    covariance of the assigned cluster alone are our reading.
    """
    cluster = assigned_cluster(embedding_ND, stats)
    cov_DD = stats.cov_GDD[cluster]
    projection = row.projection_BDD.clone().requires_grad_(True)
    bias = row.bias_BD.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([projection, bias], lr=learning_rate)
    embedding_ND = embedding_ND.float().detach()
    first = last = (0.0, 0.0)
    for step in range(steps + 1):
        moved_ND = embedding_ND + embedding_ND @ projection[0].T + bias
        pull = centre_pull(moved_ND, stats.centre_GD, stats.precision_GDD)
        coral = coral_distance(cov_DD, covariance(moved_ND))
        loss = pull + coral * moved_ND.shape[1] ** 2 + 0.1 * projection.square().sum()
        if not torch.isfinite(loss):
            raise AdaptationError(
                "NAN_LOSS", f"alignment loss is {loss.item()} at step {step}; the source model is kept."
            )
        last = (float(coral.detach()), float(pull.detach()))
        first = last if step == 0 else first
        if step == steps:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fitted = replace(row, projection_BDD=projection.detach(), bias_BD=bias.detach())
    return fitted, {
        "coral_before": first[0], "coral_after": last[0], "pull_before": first[1], "pull_after": last[1],
    }  # fmt: skip
