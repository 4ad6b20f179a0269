import numpy as np
import pytest
import torch
from PIL import Image

from udair.data.scenes import dead_leaves
from udair.estimation.noise import noise_bank


def _noisy(level: float, correlated: bool, count: int = 16, shot: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    images = []
    for scene in dead_leaves(count, 40, seed=9):
        # Enlarged, it has flat places; away from black and white, where noise is cut off.
        large = Image.fromarray(scene).resize((320, 320), Image.Resampling.BICUBIC)
        scene = 40 + 0.7 * np.asarray(large, dtype=float)
        noise = rng.normal(0, 1, scene.shape)
        if correlated:
            noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
        scale = 255 * np.sqrt(level**2 + shot * scene / 255)
        images.append(np.clip(np.rint(scene + scale * noise), 0, 255).astype(np.uint8))
    return images


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("correlated", [False, True])
def test_the_level_is_told_within_a_tenth(level, correlated):
    bank = noise_bank(_noisy(level, correlated))
    assert bank is not None
    assert bank.level == pytest.approx(level, rel=0.1)
    assert (bank.correlation_px > 0.35) == correlated


@pytest.mark.parametrize("correlated", [False, True])
def test_strong_noise_is_told_from_places_that_have_lost_its_tails(correlated):
    images = _noisy(0.25, correlated)
    cut = np.mean([(image == 0) | (image == 255) for image in images])
    bank = noise_bank(images)
    assert cut > 0.05
    assert bank is not None
    assert bank.level == pytest.approx(0.25, rel=0.1)
    assert bank.evenness < 1.3


def test_noise_that_grows_with_light_is_laid_over_scenes_as_it_grows():
    bank = noise_bank(_noisy(0.02, False, shot=0.01), 0.25)
    assert bank is not None
    clean = torch.cat([torch.full((1, 3, 64, 64), 0.25), torch.full((1, 3, 64, 64), 0.75)])
    noise = bank.degrade(clean, torch.Generator().manual_seed(0)) - clean
    dark, bright = noise[0].std(), noise[1].std()
    assert float(bright / dark) == pytest.approx(((0.0004 + 0.0075) / (0.0004 + 0.0025)) ** 0.5, rel=0.2)


def test_fields_have_the_covariance_of_the_bank():
    bank = noise_bank(_noisy(0.08, True))
    assert bank is not None
    field = bank.fields(8, 96, 80, torch.Generator().manual_seed(1))
    assert field.shape == (8, 3, 96, 80)
    assert float(field.std()) == pytest.approx(1.0, abs=0.05)
    assert float((field[:, :, :, 1:] * field[:, :, :, :-1]).mean()) == pytest.approx(0.5, abs=0.1)
    assert float((field[:, :, :, 3:] * field[:, :, :, :-3]).mean()) == pytest.approx(0.0, abs=0.1)


def test_without_enough_patches_there_is_no_bank():
    assert noise_bank([]) is None
    assert noise_bank([np.zeros((16, 16, 3), np.uint8)]) is None
    assert noise_bank([np.zeros((256, 256, 3), np.uint8)]) is None  # all clipped


def test_texture_in_the_flattest_places_makes_them_uneven():
    rng = np.random.default_rng(0)
    even = noise_bank(_noisy(0.08, False))
    grain = [(128 + 100 * rng.random() * rng.normal(0, 0.3, (64, 64, 3))).clip(0, 255) for _ in range(60)]
    textured = noise_bank([image.astype(np.uint8) for image in grain], 0.5)
    assert even is not None
    assert textured is not None
    assert even.evenness < 1.2 < 1.5 < textured.evenness
