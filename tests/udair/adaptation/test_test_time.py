"""Rows for images that arrive one after the other."""

import pytest
import torch

from udair.adaptation.adapter import identity_adapter
from udair.adaptation.test_time import TestTimeStream, crops_of
from udair.config import TestTimeConfig
from udair.data.patches import to_tensor
from udair.errors import ConfigError


def _rows(bundle, scenes, reset):
    start = identity_adapter(bundle.model, bundle.digest).row
    config = TestTimeConfig(steps=3, crop=32, reset=reset)
    stream = TestTimeStream(bundle.model, bundle.stats, start, config)
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
    stream = TestTimeStream(bundle.model, bundle.stats, start, TestTimeConfig(crop=64))
    assert stream.next(torch.rand(3, 100, 100)) is start
    assert crops_of(torch.rand(3, 100, 100), 64).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"learning_rate": 0}, {"reset": "never"}, {"crop": 50}, {"crop": 8}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"tta.{next(iter(wrong))}"):
        TestTimeConfig(**wrong)
