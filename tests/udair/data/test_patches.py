import numpy as np
import pytest
import torch

from udair.data.patches import PatchSource
from udair.errors import ConfigError


def test_crops_of_a_small_image_are_mirrored_up_to_size():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    crops = PatchSource([image]).crops(3, 48, torch.Generator().manual_seed(0))
    assert crops.shape == (3, 3, 48, 48)
    assert set(np.unique((crops * 255).round().numpy())) <= set(np.unique(image).astype(float))


def test_floats_are_refused_rather_than_read_as_black():
    with pytest.raises(ConfigError, match="float32; expected uint8"):
        PatchSource([np.full((64, 64, 3), 0.5, np.float32)])


def test_no_image_is_refused():
    with pytest.raises(ConfigError, match="0 images"):
        PatchSource([])
