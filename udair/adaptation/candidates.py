"""Candidates that cost no gradient step: cheap guesses that compete with the trained adapter.

Axes: N target crops, D code width, K codes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.adaptation.pairs import run
from udair.bundle import Bundle
from udair.models.modulation import Modulation

GAINS = (-0.5, 0.25, 0.5)
MOMENT_SHARES = (0.5, 1.0)
MOMENT_CROPS = 16


def zero_gradient(
    bundle: Bundle, identity: Adapter, crops: Tensor, histogram_K: Tensor, cluster: int
) -> dict[str, Adapter]:
    """Residual gain, moment match of the output, and code re-selection, by name.

    The moment match moves tone: it is tried where tone is to be restored.

    Args:
        bundle: The base model.
        identity: Where they start from; its intent is theirs.
        crops: Target crops (N, 3, H, W).
        histogram_K: The target's mean code histogram.
        cluster: Source class that the target's embeddings are nearest to.
    """
    rows: dict[str, Modulation] = {}
    for gain in GAINS:
        rows[f"residual gain {1 + gain:g}"] = replace(identity.row, gain_B=torch.full_like(identity.row.gain_B, gain))
    if identity.tone == "restore":
        affine_16 = _moment_match(bundle, crops[:MOMENT_CROPS])
        for share in MOMENT_SHARES:
            rows[f"moment match x {share:g}"] = replace(identity.row, affine_B6=share * affine_16)
    rows["code re-selection"] = replace(identity.row, codes_BKD=_reselect(bundle, histogram_K, cluster)[None])
    return {name: replace(identity, row=row, notes={"candidate": name}) for name, row in rows.items()}


def _moment_match(bundle: Bundle, crops: Tensor) -> Tensor:
    """Output scale and shift (1, 6) that give restored images the clean prior's mean and contrast.

    Worth about 2 dB where a brightness offset is left, harmful where none is: it has to win at the
    gate like every other candidate.
    """
    restored = run(bundle.model, crops, None, tone="restore")
    mean_3, contrast_3 = restored.mean((0, 2, 3)), restored.std((2, 3)).mean(0)
    scale_3 = (bundle.stats.clean_contrast_3 / contrast_3.clamp(min=0.01)).clamp(0.5, 3.0)
    shift_3 = bundle.stats.clean_mean_3 - mean_3 * scale_3
    return torch.cat([scale_3 - 1, shift_3])[None]


def _reselect(bundle: Bundle, histogram_K: Tensor, cluster: int) -> Tensor:
    """Offsets (K, D) that move codes which the source class hardly uses to those that it does.

    A code that the target uses more than its class does is replaced in part by the class's codes
    near it, weighted by use; the farther away those are, the nearer the mix is to their mean.
    """
    codes_KD = bundle.model.degradation.codebook.codes_KD
    used_K = bundle.stats.histogram_GK[cluster]
    excess_K = ((histogram_K - used_K) / histogram_K.clamp(min=1e-4)).clamp(0, 1)
    apart_KK = torch.cdist(codes_KD, codes_KD).square()
    softness = apart_KK.median().clamp(min=1e-6)
    weight_KK = torch.softmax(-apart_KK / softness + (used_K + 1e-6).log()[None, :], 1)
    return excess_K[:, None] * (weight_KK @ codes_KD - codes_KD)
