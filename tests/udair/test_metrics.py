import numpy as np
import pytest
import torch
from skimage import data
from skimage.metrics import structural_similarity

from udair.errors import ShapeError
from udair.metrics import codebook_perplexity, niqe, niqe_features, psnr_db, ssim


def _photo() -> torch.Tensor:
    return torch.from_numpy(data.chelsea()[:240, :336].copy()).permute(2, 0, 1)[None].float() / 255


def test_psnr_by_hand_and_clamped():
    truth = torch.zeros(1, 3, 4, 4)
    assert float(psnr_db(truth + 0.1, truth)) == pytest.approx(20.0)
    assert float(psnr_db(truth - 5, truth)) == 100.0
    with pytest.raises(ShapeError):
        psnr_db(truth, truth[:, :2])


def test_ssim_agrees_with_scikit_image():
    photo = _photo()
    noisy = (photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    a, b = (x[0].permute(1, 2, 0).numpy().astype(np.float64) for x in (photo, noisy))
    reference = structural_similarity(
        a, b, channel_axis=2, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert float(ssim(noisy, photo)) == pytest.approx(reference, abs=2e-3)


def test_niqe_ranks_a_photograph_before_its_damaged_copies():
    photo = _photo()[0]
    pristine = torch.cat(
        [niqe_features(torch.from_numpy(i).permute(2, 0, 1).float() / 255) for i in (data.coffee(), data.astronaut())]
    )
    mean, cov = pristine.mean(0), torch.cov(pristine.T)
    noisy = (photo + 0.15 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    blurred = torch.nn.functional.avg_pool2d(photo[None], 7, stride=1, padding=3)[0]
    clean = niqe(niqe_features(photo), mean, cov)
    assert clean < niqe(niqe_features(noisy), mean, cov)
    assert clean < niqe(niqe_features(blurred), mean, cov)


def test_perplexity_counts_codes_in_use():
    assert codebook_perplexity(torch.tensor([[0.5, 0.5, 0.0, 0.0]])) == pytest.approx(2.0, rel=1e-4)
