"""Does the target need an adapter at all, and is it one domain?

Axes: N crops, D code width, S appearance statistics, G source classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.data.tasks import CLASSES
from udair.losses.alignment import cluster_distance
from udair.source_stats import SourceStats

POOLED = 0.5  # how far each class's covariance is drawn to the mean one before classes are compared
SEPARATION = 0.55  # silhouette above which two groups of crops are two domains
SMALLEST_GROUP = 0.15


@dataclass(frozen=True)
class Detection:
    """What the target looks like to the source model.

    Attributes:
        in_domain_share: Share of crops that lie inside one source class, by codes and by looks. It is
            reported, not acted on: a class that holds every severity also holds shifted ones.
        clean_share: Share of crops for which *clean* is the likeliest class; reported, too.
        groups: Indices of the crops of each domain found: one group, or two for a mixed target.
        separation: Silhouette of the best split in two, -1 to 1.
    """

    in_domain_share: float
    clean_share: float
    groups: tuple[Tensor, ...]
    separation: float


def detect(embedding_ND: Tensor, look_NS: Tensor, stats: SourceStats, seed: int = 0) -> Detection:
    """Compare a target's crops with the source's classes.

    A crop is inside when some class holds both its embedding and its appearance statistics within
    the radius that holds 99 % of that class.

    Source: UDAIR (arXiv 2505.22284) measures the domain gap on degradation embeddings; SRTTA
    (Deng et al. 2023) skips images that need no adaptation. Appearance statistics are ours.
    """
    by_code_NG = _inside(embedding_ND, stats.centre_GD, stats.precision_GDD, stats.quantile_G3[:, 2])
    by_look_NG = _inside(look_NS, stats.look_centre_GS, stats.look_precision_GSS, stats.look_quantile_G3[:, 2])
    share = float((by_code_NG & by_look_NG).any(1).float().mean())
    likely_NG = _log_likelihood(embedding_ND, stats.centre_GD, stats.precision_GDD)
    likely_NG = likely_NG + _log_likelihood(look_NS, stats.look_centre_GS, stats.look_precision_GSS)
    clean = float((likely_NG.argmax(1) == CLASSES.index("clean")).float().mean())
    groups, separation = _split(torch.cat([_standard(embedding_ND), _standard(look_NS)], 1), seed)
    return Detection(share, clean, groups, separation)


def _log_likelihood(feature_NF: Tensor, centre_GF: Tensor, precision_GFF: Tensor) -> Tensor:
    """Regularised discriminant analysis (Friedman 1989): a class that hardly varies would otherwise win
    every crop near it by its determinant alone, and one that varies much would win the far ones."""
    covariance_GFF = torch.linalg.inv(precision_GFF)
    covariance_GFF = torch.lerp(covariance_GFF, covariance_GFF.mean(0, keepdim=True), POOLED)
    precision_GFF = torch.linalg.inv(covariance_GFF)
    distance_NG = cluster_distance(feature_NF, centre_GF, precision_GFF)
    return 0.5 * (torch.logdet(precision_GFF) - distance_NG)


def _inside(feature_NF: Tensor, centre_GF: Tensor, precision_GFF: Tensor, radius_G: Tensor) -> Tensor:
    inside_NG: Tensor = cluster_distance(feature_NF, centre_GF, precision_GFF) / feature_NF.shape[1] <= radius_G
    return inside_NG


def _standard(feature_NF: Tensor) -> Tensor:
    scaled = (feature_NF - feature_NF.mean(0)) / (feature_NF.std(0) + 1e-3)
    return scaled / math.sqrt(feature_NF.shape[1])


def _split(feature_NF: Tensor, seed: int) -> tuple[tuple[Tensor, ...], float]:
    """Two means from the two farthest-apart starts; kept when clearly apart and both sizeable."""
    count = len(feature_NF)
    everyone = torch.arange(count)
    if count < 8:
        return (everyone,), -1.0
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(count, (1,), generator=generator))
    far = int((feature_NF - feature_NF[first]).square().sum(1).argmax())
    farther = int((feature_NF - feature_NF[far]).square().sum(1).argmax())
    centres = feature_NF[[far, farther]]
    for _ in range(20):
        member = torch.cdist(feature_NF, centres).argmin(1)
        if member.min() == member.max():
            return (everyone,), -1.0
        centres = torch.stack([feature_NF[member == index].mean(0) for index in (0, 1)])
    apart = torch.cdist(feature_NF, feature_NF)
    own = torch.stack([apart[:, member == index].mean(1) for index in (0, 1)], 1)
    inner = own.gather(1, member[:, None]).squeeze(1)
    outer = own.gather(1, 1 - member[:, None]).squeeze(1)
    separation = float(((outer - inner) / torch.maximum(outer, inner).clamp(min=1e-9)).mean())
    groups = tuple(everyone[(member == index).cpu()] for index in (0, 1))
    if separation < SEPARATION or min(len(group) for group in groups) < SMALLEST_GROUP * count:
        return (everyone,), separation
    return groups, separation
