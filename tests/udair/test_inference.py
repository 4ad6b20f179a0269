import pytest
import torch

from udair.errors import ConfigError, ShapeError
from udair.inference import restore


def test_small_images_are_restored_whole(bundle):
    image = torch.rand(3, 40, 50)
    seen = bundle.model.embed(image[None])
    assert torch.equal(restore(bundle.model, image), bundle.model(image[None], None, seen)[0].clamp(0, 1))


@pytest.mark.parametrize("size", [(300, 200), (97, 500), (1, 1), (257, 257)])
def test_any_size_comes_back_in_its_size_and_range(bundle, size):
    image = torch.rand(3, *size)
    restored = restore(bundle.model, image, tile=128, overlap=32)
    assert restored.shape == image.shape
    assert float(restored.min()) >= 0
    assert float(restored.max()) <= 1


def test_tiles_leave_no_seam(bundle):
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12), (320, 320), mode="bicubic")[0].clamp(0, 1)
    tiled = restore(bundle.model, image, tile=128, overlap=64)
    whole = restore(bundle.model, image, tile=320, overlap=64)
    assert float((tiled - whole).abs().mean()) < 0.01


def test_bad_tiles_and_shapes_are_refused(bundle):
    with pytest.raises(ConfigError, match="tile is 100"):
        restore(bundle.model, torch.rand(3, 300, 300), tile=100)
    with pytest.raises(ShapeError):
        restore(bundle.model, torch.rand(1, 3, 300, 300))


@pytest.mark.parametrize("height", [8, 31, 32, 33, 255, 256, 257])
@pytest.mark.parametrize("width", [32, 300])
def test_every_size_around_tile_and_overlap_is_restored(bundle, height, width):
    image = torch.rand(3, height, width)
    restored = restore(bundle.model, image)
    assert restored.shape == image.shape
    assert bool(torch.isfinite(restored).all())
