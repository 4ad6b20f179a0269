"""Where an adapter applies: a linear boundary between its domain's images and the source's.

Axes: N samples, S scope features (embedding, then appearance).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from udair.adaptation.pairs import crop_scenes, photos
from udair.bundle import Bundle
from udair.config import Tone
from udair.data.tasks import make_batch
from udair.models.degradation import scope_features
from udair.models.modulation import Modulation

KEPT = 0.98  # share of the domain's own samples that the boundary must keep
RIDGE = 0.3  # boundaries are fitted on few scenes: less follows their content


def scoped(
    bundle: Bundle, row: Modulation, alike_NCHW: Tensor, generator: torch.Generator, tone: Tone = "keep"
) -> Modulation:
    """Limit a row to images like these.

    Args:
        bundle: The base model, whose replay scenes stand for the source.
        row: One row; it is not changed.
        alike_NCHW: Crops of the target, and scenes as its camera would have given them.
        generator: Of crops and degradations.
        tone: The intent whose source degradations are to be left out.
    """
    count, side = len(alike_NCHW), alike_NCHW.shape[-1]
    scenes = crop_scenes(bundle.replay_train_NCHW.float() / 255, count, side, generator)
    others = make_batch(photos(scenes), count, side, generator, tone=tone).degraded_BCHW
    return fit_scope(row, _features(bundle, alike_NCHW), _features(bundle, others))


@torch.no_grad()
def source_pairs_inside(
    bundle: Bundle, scope: Modulation, draws: int, side: int, generator: torch.Generator, tone: Tone = "keep"
) -> tuple[Tensor, Tensor]:
    """Degraded and clean source samples (N, 3, side, side) that a scope holds, of `draws` tried; N may be 0."""
    scenes = bundle.replay_train_NCHW.float() / 255
    drawn = make_batch(photos(scenes), draws, side, generator, tone=tone)
    features_NS = _features(bundle, drawn.degraded_BCHW)
    inside = scope.inside(features_NS) > 0
    return drawn.degraded_BCHW[inside], drawn.clean_BCHW[inside]


@torch.no_grad()
def _features(bundle: Bundle, image_NCHW: Tensor) -> Tensor:
    return torch.cat([scope_features(bundle.model.embed(p).embedding_BD, p) for p in image_NCHW.split(32)])


def fit_scope(row: Modulation, alike_NS: Tensor, others_NS: Tensor) -> Modulation:
    """Limit a row to samples that look like its domain's.

    A linear discriminant on standardised features, shrunk towards the identity covariance, with its
    offset moved so that nearly all of the domain's own samples stay inside. Where the domain cannot
    be told from the source, the boundary holds both, and the gate sees the loss on the source.

    Args:
        row: One row; it is not changed.
        alike_NS: Features of the domain's images and of scenes with its degradation.
        others_NS: Features of scenes with the source's degradations.
    """
    both = torch.cat([alike_NS, others_NS])
    centre_S, scale_S = both.mean(0), both.std(0) + 1e-3
    alike, others = (alike_NS - centre_S) / scale_S, (others_NS - centre_S) / scale_S
    within = 0.5 * (torch.cov(alike.T) + torch.cov(others.T))
    within = within + RIDGE * torch.eye(len(centre_S), device=both.device)
    weight_S = torch.linalg.solve(within, alike.mean(0) - others.mean(0)) / scale_S
    score_N = alike_NS @ weight_S
    edge = torch.quantile(score_N, 1 - KEPT)
    # The next image of the domain is not one of these: go half of the way to the others where there
    # is a gap, and a little below the kept quantile where there is none.
    gap = edge - torch.quantile(others_NS @ weight_S, KEPT)
    edge = edge - torch.maximum(0.5 * gap, 0.05 * score_N.std())
    return replace(row, scope_weight_BS=weight_S[None], scope_bias_B=-edge[None])
