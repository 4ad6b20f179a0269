"""Drift is told from chance, on sets whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from udair.adaptation.drift import MIN_IMAGES, jensen_shannon, measure_drift


def _images(rng, count: int, hazy: float, codes: int = 32) -> np.ndarray:
    """Images that are hazy or rainy: codes of one image belong together."""
    kinds = rng.random(count) < hazy
    weights = np.where(kinds[:, None], np.linspace(0, 1, codes), np.linspace(1, 0, codes))
    return np.stack([rng.multinomial(36, row / row.sum()) / 36 for row in weights])


def test_the_divergence_of_known_histograms():
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(1.0)
    assert jensen_shannon(np.array([3.0, 1.0]), np.array([0.75, 0.25])) == pytest.approx(0.0, abs=1e-12)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.3113, abs=1e-4)


def test_a_shift_is_found_and_chance_is_not():
    rng = np.random.default_rng(5)
    reference = _images(rng, 128, hazy=0.12)
    shifted = measure_drift(reference, _images(rng, 128, hazy=0.41))
    assert shifted is not None
    assert shifted.crossed
    false = [measure_drift(reference, _images(rng, 128, hazy=0.12), permutations=1000) for _ in range(40)]
    assert sum(found.crossed for found in false if found) <= 1


def test_few_images_say_nothing():
    rng = np.random.default_rng(0)
    assert measure_drift(_images(rng, 100, 0.1), _images(rng, MIN_IMAGES - 1, 0.9)) is None
