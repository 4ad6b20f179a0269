import math

import pytest
import torch

from udair.errors import ShapeError
from udair.losses.alignment import centre_pull, cluster_distance
from udair.losses.contrastive import contrastive_loss, covariance_contrastive_loss
from udair.losses.coral import coral_distance, covariance
from udair.losses.restoration import restoration_loss, tone_loss


def test_restoration_loss_is_zero_for_the_truth_and_counts_a_constant_error_once():
    clean = torch.rand(2, 3, 8, 8)
    assert float(restoration_loss(clean, clean)) == 0
    # A constant error c has one Fourier coefficient, c * sqrt(H W), of 8 x 5 complex numbers.
    loss = restoration_loss(clean + 0.5, clean, fft_weight=1.0)
    assert float(loss) == pytest.approx(0.5 + 0.5 * 8 / (8 * 5 * 2), rel=1e-4)
    with pytest.raises(ShapeError):
        restoration_loss(clean, clean[:1])


def test_contrastive_loss_matches_a_hand_computed_value():
    # Two classes on opposite sides: cosine 1 within, -1 across; temperature 1.
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    label = torch.tensor([0, 0, 1, 1])
    expected = -math.log(math.e / (math.e + 2 * math.exp(-1)))
    assert float(contrastive_loss(embedding, label, temperature=1.0)) == pytest.approx(expected, rel=1e-5)


def test_contrastive_loss_prefers_the_right_grouping_and_is_zero_without_positives():
    embedding = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.1]])
    right, wrong = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert contrastive_loss(embedding, right) < contrastive_loss(embedding, wrong)
    assert float(contrastive_loss(embedding, torch.arange(4))) == 0
    with pytest.raises(ShapeError):
        contrastive_loss(embedding, right[:2])


def test_contrastive_gradient_is_right():
    embedding = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = contrastive_loss(embedding, label)
    loss.backward()
    step = 1e-3
    moved = embedding.detach().clone()
    moved[0, 0] += step
    numeric = (contrastive_loss(moved, label) - loss.detach()) / step
    assert float(embedding.grad[0, 0]) == pytest.approx(float(numeric), abs=5e-3)


def test_coral_is_zero_for_equal_covariances_and_matches_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(coral_distance(a, a)) == 0
    assert float(coral_distance(a, torch.zeros(2, 2))) == pytest.approx(2 / 16)
    with pytest.raises(ShapeError):
        covariance(torch.randn(1, 3))
    with pytest.raises(ShapeError):
        coral_distance(a, torch.zeros(3, 3))


def test_centre_pull_falls_towards_a_centre():
    centre = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    precision = torch.eye(2).expand(2, 2, 2)
    assert cluster_distance(torch.tensor([[3.0, 4.0]]), centre, precision)[0, 0] == 25
    near, far = torch.tensor([[0.5, 0.0]]), torch.tensor([[3.0, 0.0]])
    assert centre_pull(near, centre, precision) < centre_pull(far, centre, precision)


def test_covariance_contrast_tells_apart_what_means_do_not():
    generator = torch.Generator().manual_seed(0)
    stripes = torch.randn(6, 1, 8, 8, generator=generator)
    noise = torch.randn(12, 4, 8, 8, generator=generator)
    # Zero mean everywhere; in the first half channels move together.
    latent = torch.cat([0.3 * noise[:6] + stripes, noise[6:]])
    latent = latent - latent.mean((2, 3), keepdim=True)
    label = torch.tensor([0] * 6 + [1] * 6)
    shuffled = torch.tensor([0, 1] * 6)
    assert covariance_contrastive_loss(latent, label) < covariance_contrastive_loss(latent, shuffled) - 0.5
    with pytest.raises(ShapeError):
        covariance_contrastive_loss(torch.zeros(4, 8), label[:4])


def test_tone_loss_counts_drift_of_samples_that_keep_tone_and_no_noise():
    clean = torch.full((2, 3, 64, 64), 0.5)
    noise = 0.2 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    moved = clean + torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    assert float(tone_loss(moved, clean, torch.tensor([True, False]))) == pytest.approx(0.1, abs=1e-5)
    assert float(tone_loss(moved, clean, torch.tensor([True, True]))) == pytest.approx(0.2, abs=1e-5)
    assert float(tone_loss(moved, clean, torch.tensor([False, False]))) == 0
    assert float(tone_loss(clean + noise, clean, torch.tensor([True, True]))) < 0.02
