import pytest
import torch

from udair.adaptation.flat_places import taken_out


def _pictures(count: int = 6) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Half flat, half a fine pattern; and the same with noise."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((3, 96, 96), 0.5)
    clean[:, :, 48:] += 0.2 * torch.sign(torch.sin(torch.arange(48) * 2.1))
    noisy = [clean + 0.05 * torch.randn(3, 96, 96, generator=generator) for _ in range(count)]
    return noisy, [clean] * count


def _between(noisy: list[torch.Tensor], clean: list[torch.Tensor], share: float) -> list[torch.Tensor]:
    return [one + share * (other - one) for one, other in zip(noisy, clean, strict=True)]


def test_what_goes_beyond_the_base_model_is_a_share_of_what_flat_places_held():
    noisy, clean = _pictures()
    base, after = _between(noisy, clean, 0.5), _between(noisy, clean, 1.0)
    plain, better = taken_out(noisy, base, base), taken_out(noisy, base, after)
    assert plain.left_share() == pytest.approx(0.25, abs=0.02)
    assert better.left_share() == pytest.approx(0.0, abs=0.01)
    assert better.flat_gain_low(plain, 0) == pytest.approx(0.25, abs=0.03)
    assert plain.flat_gain_low(plain, 0) == 0.0
    # The other way round it leaves more than the base model does.
    assert plain.flat_gain_low(better, 0) < -0.2


def test_a_base_model_that_sharpens_noise_leaves_more_than_there_was():
    noisy, clean = _pictures()
    sharpened = _between(noisy, clean, -0.5)
    assert taken_out(noisy, sharpened, sharpened).left_share() > 2
    gain = taken_out(noisy, sharpened, noisy).flat_gain_low(taken_out(noisy, sharpened, sharpened), 0)
    assert gain > 1  # doing nothing is better there, and shows


def test_taking_texture_tilts_towards_busy_places():
    noisy, clean = _pictures()
    base = _between(noisy, clean, 1.0)
    smooth = [torch.full_like(picture, 0.5) for picture in clean]
    assert taken_out(noisy, base, smooth).busy_change(taken_out(noisy, base, base)) > 5


def test_without_pictures_nothing_is_gained():
    nothing = taken_out([], [], [])
    assert nothing.flat_gain_low(nothing, 0) == 0.0
