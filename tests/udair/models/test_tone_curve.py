from dataclasses import replace

import pytest
import torch

from udair.estimation.tone import tone_curve, towards_mean, undone
from udair.inference import restore
from udair.models.tone_curve import KNOTS, knots, toned


def _power(power: float) -> torch.Tensor:
    return (knots() ** power - knots()).expand(1, 3, -1).clone()


def test_no_curve_gives_the_same_pixels_to_the_last_bit_beside_one_that_has_one():
    image = torch.rand(2, 3, 9, 7)
    both = torch.cat([torch.zeros(1, 3, KNOTS), _power(0.5)])
    out = toned(image, both, torch.ones(2))
    assert torch.equal(out[0], image[0])
    assert not torch.equal(out[1], image[1])
    assert torch.equal(toned(image, both, torch.zeros(2)), image)  # outside of its scope
    assert toned(image, torch.zeros(2, 3, KNOTS), torch.ones(2)) is image


def test_a_curve_is_met_at_its_knots_and_between_them():
    x = torch.linspace(0.001, 1, 500).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    assert torch.allclose(toned(x, _power(0.5), torch.ones(1)), x.sqrt(), atol=0.004)
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert torch.allclose(toned(ends, _power(2.0), torch.ones(1)), ends)


def test_a_curve_that_was_read_off_two_sets_takes_one_to_the_other_and_back():
    bright = torch.rand(40_000, 3)
    dark = 0.2 * bright**1.5 * torch.tensor([1.0, 0.9, 0.6])
    delta = tone_curve(dark, bright, grey=False)
    picture = torch.rand(1, 3, 16, 16)
    seen = 0.2 * picture**1.5 * torch.tensor([1.0, 0.9, 0.6]).view(1, 3, 1, 1)
    assert float((toned(seen, delta, torch.ones(1)) - picture).abs().mean()) < 0.02
    told = picture < 0.97  # the last hundredth runs straight to white
    assert float((undone(delta, picture) - seen)[told].abs().max()) < 0.01
    grey = tone_curve(dark, bright, grey=True)
    assert torch.equal(grey[0, 0], grey[0, 2])
    assert bool((knots() + delta[0]).diff().ge(-1e-6).all())


@pytest.mark.parametrize("mean", [0.1, 0.45, 0.8])
def test_pixels_are_brought_to_a_mean(mean):
    assert float(towards_mean(torch.rand(5000, 3), mean).mean()) == pytest.approx(mean, abs=0.005)


@pytest.mark.parametrize("piece_bytes", [None, 2**18])
def test_a_picture_in_pieces_goes_through_the_curve_once(bundle, piece_bytes):
    row = replace(bundle.model.identity(), curve_B3T=_power(0.6))
    image = torch.rand(3, 320, 288)
    whole = bundle.model(image[None], row).clamp(0, 1)[0]
    assert torch.allclose(restore(bundle.model, image, row, piece_bytes=piece_bytes), whole, atol=2e-3)
    by_hand = bundle.model(toned(image[None], row.curve_B3T, torch.ones(1))).clamp(0, 1)[0]
    assert torch.allclose(whole, by_hand, atol=1e-5)
