"""Rows for images that arrive one after the other."""

from dataclasses import replace

import pytest
import torch

from udair.adaptation.adapter import identity_adapter
from udair.adaptation.test_time import TestTimeStream, adapt_at_test_time, crops_of
from udair.config import TestTimeConfig
from udair.data.patches import to_tensor
from udair.errors import ConfigError
from udair.inference import restore


def _rows(bundle, scenes, reset):
    start = identity_adapter(bundle.model, bundle.digest).row
    config = TestTimeConfig(method="alignment", steps=3, crop=32, reset=reset)
    stream = TestTimeStream(bundle, start, config)
    images = to_tensor(scenes[:2])
    return [stream.next(image) for image in (images[0], images[1], images[0])]


def test_a_request_starts_from_the_row_that_was_given(bundle, scenes):
    first, _, again = _rows(bundle, scenes, "request")
    assert torch.equal(first.bias_BD, again.bias_BD)
    assert torch.equal(first.projection_BDD, again.projection_BDD)


def test_a_stream_goes_on_from_where_the_last_image_ended(bundle, scenes):
    by_request, by_stream = (_rows(bundle, scenes, reset) for reset in ("request", "stream"))
    assert torch.equal(by_request[0].bias_BD, by_stream[0].bias_BD)
    assert not torch.equal(by_request[2].bias_BD, by_stream[2].bias_BD)


def test_an_image_too_small_for_two_crops_gets_the_row_back(bundle):
    start = identity_adapter(bundle.model, bundle.digest).row
    stream = TestTimeStream(bundle, start, TestTimeConfig(method="alignment", crop=64))
    assert stream.next(torch.rand(3, 100, 100)) is start
    assert crops_of(torch.rand(3, 100, 100), 64).shape == (1, 3, 64, 64)


@pytest.fixture
def noisy(scenes):
    """A picture with noise, whose upper half is flat."""
    image = to_tensor(scenes[:1])[0].clone()
    image[:, : image.shape[1] // 2] = 0.5
    return (image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def _sharpening(row, share):
    """A row whose change is the model's, turned round: it adds to flat places what the model takes out."""
    return replace(row, gain_B=torch.full_like(row.gain_B, share - 1))


def test_a_change_that_flat_places_bear_out_is_left_alone(bundle, noisy):
    start = bundle.model.identity()
    assert adapt_at_test_time(bundle, noisy, start, TestTimeConfig()) is start


def test_a_change_that_adds_to_flat_places_is_taken_back(bundle, noisy):
    start = _sharpening(bundle.model.identity(), -1.0)
    row = adapt_at_test_time(bundle, noisy, start, TestTimeConfig())
    assert torch.allclose(restore(bundle.model, noisy, row), noisy, atol=1e-6)
    # A picture smaller than a window has no flat places to ask.
    assert adapt_at_test_time(bundle, noisy[:, :3, :2], start, TestTimeConfig()) is start
    # One that goes too far is scaled down, not away.
    row = adapt_at_test_time(bundle, noisy, _sharpening(start, 60.0), TestTimeConfig())
    assert 0.1 < float(1 + row.gain_B[0]) < 60
    assert adapt_at_test_time(bundle, noisy, start, TestTimeConfig(steps=0)) is start


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"learning_rate": 0}, {"reset": "never"}, {"crop": 50}, {"crop": 8}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"tta.{next(iter(wrong))}"):
        TestTimeConfig(**wrong)
