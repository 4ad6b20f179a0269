"""Discrete prototypes of degradation patterns: nearest code, straight-through gradient, EMA update.

Axes: B samples, D code width, K codes, h x w latent grid, N = B h w latent vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from udair.errors import ShapeError


class Quantised(NamedTuple):
    """What the codebook made of a latent map."""

    map_BDhw: Tensor
    indices_Bhw: Tensor
    histogram_BK: Tensor
    commitment: Tensor


class Codebook(nn.Module):
    """K codes of width D, learned as running means of the latent vectors that they attract.

    Codes move by exponential moving average (van den Oord et al. 2017, appendix A.1), not by
    gradient. A code that attracts almost nothing is dead and takes the place of a latent
    vector of the batch (Dhariwal et al. 2020). Under `torch.distributed` counts and sums are summed
    over ranks, so that every rank holds the same codes.

    Source: UDAIR (arXiv 2505.22284), codebook E in R^{K x D}. Decay and revival are our reading.
    """

    codes_KD: Tensor
    count_K: Tensor
    sum_KD: Tensor

    def __init__(self, codes: int, dim: int, decay: float = 0.99, dead_below: float = 0.02) -> None:
        super().__init__()
        self.decay = decay
        self.dead_below = dead_below
        initial = torch.randn(codes, dim)
        self.register_buffer("codes_KD", initial)
        self.register_buffer("count_K", torch.ones(codes))
        self.register_buffer("sum_KD", initial.clone())

    def forward(self, latent_BDhw: Tensor) -> Quantised:
        """Quantise a latent map; in training mode the codes move towards it.

        Raises:
            ShapeError: The latent's width is not D.
        """
        codes, dim = self.codes_KD.shape
        if latent_BDhw.ndim != 4 or latent_BDhw.shape[1] != dim:
            raise ShapeError("latent_BDhw", tuple(latent_BDhw.shape), f"(B, {dim}, h, w)")
        batch, _, height, width = latent_BDhw.shape
        vectors_ND = latent_BDhw.permute(0, 2, 3, 1).reshape(-1, dim).float()
        with torch.no_grad():
            # |v - c|^2 without |v|^2, which does not change the nearest code.
            distance_NK = self.codes_KD.square().sum(1) - 2 * vectors_ND @ self.codes_KD.T
            indices_N = distance_NK.argmin(1)
            if self.training:
                self._move(vectors_ND.detach(), indices_N)
        quantised_ND = self.codes_KD[indices_N]
        commitment = F.mse_loss(vectors_ND, quantised_ND)
        straight_ND = vectors_ND + (quantised_ND - vectors_ND).detach() if self.training else quantised_ND
        indices_Bhw = indices_N.view(batch, height, width)
        histogram_BK = torch.zeros(batch, codes, device=latent_BDhw.device)
        histogram_BK.scatter_add_(
            1, indices_Bhw.flatten(1), torch.ones_like(indices_Bhw.flatten(1), dtype=torch.float32)
        )
        return Quantised(
            straight_ND.view(batch, height, width, dim).permute(0, 3, 1, 2).to(latent_BDhw.dtype),
            indices_Bhw,
            histogram_BK / (height * width),
            commitment,
        )

    def _move(self, vectors_ND: Tensor, indices_N: Tensor) -> None:
        """One step of the running means. No shape depends on the data: a CUDA graph can hold it."""
        codes = len(self.codes_KD)
        count_K = torch.zeros_like(self.count_K).index_add_(0, indices_N, torch.ones_like(vectors_ND[:, 0]))
        sum_KD = torch.zeros_like(self.sum_KD).index_add_(0, indices_N, vectors_ND)
        # Evenly spaced is random enough: the patches are random, and a run can be repeated exactly.
        pick_K = torch.linspace(0, len(vectors_ND) - 1, codes, device=vectors_ND.device).long()
        revived_KD = vectors_ND[pick_K]
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(count_K)
            dist.all_reduce(sum_KD)
            dist.broadcast(revived_KD, 0)
        self.count_K.mul_(self.decay).add_(count_K, alpha=1 - self.decay)
        self.sum_KD.mul_(self.decay).add_(sum_KD, alpha=1 - self.decay)
        dead_K = self.count_K < self.dead_below
        self.count_K.copy_(torch.where(dead_K, torch.ones_like(self.count_K), self.count_K))
        self.sum_KD.copy_(torch.where(dead_K[:, None], revived_KD, self.sum_KD))
        self.codes_KD.copy_(self.sum_KD / self.count_K[:, None])
