"""Has what a domain's cameras send changed? Code histograms now, beside those of the snapshot. Needs numpy only.

Axes: M and N images, K codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MIN_IMAGES = 16
SIGNIFICANCE = 0.001


@dataclass(frozen=True)
class Drift:
    """A comparison of two sets of images.

    Attributes:
        divergence: Jensen-Shannon divergence of the mean code histograms, bits: 0 the same, 1 disjoint.
        threshold: What chance alone exceeds once in a thousand times.
    """

    divergence: float
    threshold: float

    @property
    def crossed(self) -> bool:
        """Whether it is more than chance."""
        return self.divergence > self.threshold


def jensen_shannon(p_K: Array, q_K: Array) -> float:
    """Jensen-Shannon divergence of two histograms, bits, 0 to 1; they are normalised first."""
    return float(_divergence(np.asarray(p_K, float)[None], np.asarray(q_K, float)[None])[0])


def measure_drift(
    reference_MK: Array,
    window_NK: Array,
    *,
    significance: float = SIGNIFICANCE,
    permutations: int = 2000,
    seed: int = 0,
) -> Drift | None:
    """Compare images of a window with images of the snapshot.

    The threshold is a permutation's: both sets are mixed and parted at random, image by image, so
    that it holds for any number of images and for codes of one image that belong together.

    Returns:
        None where one side has fewer than `MIN_IMAGES` images.
    """
    if min(len(reference_MK), len(window_NK)) < MIN_IMAGES:
        return None
    pooled = np.concatenate([reference_MK, window_NK])
    rng = np.random.default_rng(seed)
    # One row of ones and zeros for each way to part the images.
    left = np.argsort(rng.random((permutations, len(pooled))), axis=1) < len(reference_MK)
    total_K = pooled.sum(0)
    first = left.astype(float) @ pooled
    chance = _divergence(first, np.maximum(total_K - first, 0.0))
    return Drift(jensen_shannon(reference_MK.sum(0), window_NK.sum(0)), float(np.quantile(chance, 1 - significance)))


def _divergence(p: Array, q: Array) -> Array:
    p = p / np.maximum(p.sum(1, keepdims=True), 1e-12)
    q = q / np.maximum(q.sum(1, keepdims=True), 1e-12)
    middle = (p + q) / 2

    def to_middle(x: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(x > 0, x * np.log2(x / middle), 0.0).sum(1))

    return np.clip((to_middle(p) + to_middle(q)) / 2, 0.0, 1.0)
