"""Correlation alignment of two embedding batches.

Axes: B samples, D code width.
"""

from __future__ import annotations

from torch import Tensor

from udair.errors import ShapeError


def covariance(embedding_BD: Tensor) -> Tensor:
    """Unbiased covariance (D, D) in float32.

    Raises:
        ShapeError: Fewer than two rows: one row has no covariance.
    """
    if embedding_BD.ndim != 2 or embedding_BD.shape[0] < 2:
        raise ShapeError("embedding_BD", tuple(embedding_BD.shape), "(B, D) with B >= 2")
    centred_BD = embedding_BD.float() - embedding_BD.float().mean(0, keepdim=True)
    return centred_BD.T @ centred_BD / (len(embedding_BD) - 1)


def coral_distance(source_cov_DD: Tensor, target_cov_DD: Tensor) -> Tensor:
    """Squared Frobenius distance between two covariances, over 4 D^2.

    Zero when second-order statistics agree. Take covariances in float32: bfloat16 covariances of
    near-constant features lose their sign.

    Raises:
        ShapeError: The covariances differ in size.

    Source: Sun & Saenko 2016, Deep CORAL, eq. 1; UDAIR (arXiv 2505.22284), test-time adaptation.
    """
    if source_cov_DD.shape != target_cov_DD.shape:
        raise ShapeError("target_cov_DD", tuple(target_cov_DD.shape), f"{tuple(source_cov_DD.shape)}")
    return (source_cov_DD - target_cov_DD).square().sum() / (4 * source_cov_DD.shape[0] ** 2)
