from dataclasses import replace

import pytest
import torch

from udair.config import ModelConfig
from udair.errors import ShapeError
from udair.models.blocks import local_mean, spread
from udair.models.modulation import stack
from udair.models.restorer import Restorer


@pytest.fixture(scope="module")
def model() -> Restorer:
    torch.manual_seed(0)
    made = Restorer(ModelConfig("test", 8, (1, 1), 1, (1, 1), codes=16, code_dim=8, embedder_width=8)).eval()
    for parameter in made.parameters():  # no zero-initialised gates: every path matters
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made.requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (1, 1), (5, 100), (64, 48)])
def test_any_size_keeps_its_shape(model, size):
    image = torch.rand(2, 3, *size)
    assert model(image).shape == image.shape


def test_identity_adapter_reproduces_the_source_model_bit_for_bit(model):
    image = torch.rand(3, 3, 40, 56)
    assert torch.equal(model(image), model(image, model.identity()))


def test_every_part_of_an_adapter_changes_pixels(model):
    image = torch.rand(1, 3, 32, 32)
    source = model(image)
    identity = model.identity()
    for name in ("projection_BDD", "bias_BD", "codes_BKD", "film_BF", "gain_B", "affine_B6"):
        changed = replace(identity, **{name: getattr(identity, name) + 0.1})
        assert not torch.equal(model(image, changed), source), name


def test_outside_its_scope_an_adapter_changes_nothing(model):
    image = torch.rand(2, 3, 32, 32)
    row = replace(model.identity(), film_BF=model.identity().film_BF + 0.3, scope_bias_B=torch.tensor([-1.0]))
    assert torch.equal(model(image, row), model(image))


def test_a_mixed_batch_gives_the_pixels_of_each_alone(model):
    images = torch.rand(3, 3, 32, 48)
    identity = model.identity()
    rows = [replace(identity, film_BF=identity.film_BF + 0.1 * k, gain_B=identity.gain_B + 0.2 * k) for k in range(3)]
    together = model(images, stack(rows))
    for k in range(3):
        alone = model(images[k : k + 1], rows[k])
        assert float((together[k] - alone[0]).abs().max()) < 1e-5


def test_wrong_axes_are_refused(model):
    with pytest.raises(ShapeError, match=r"expected \(B, 3, H, W\)"):
        model(torch.rand(1, 1, 16, 16))


def test_local_mean_equals_the_plain_mean_in_a_small_image_and_a_box_filter_in_a_large_one():
    x = torch.rand(1, 2, 20, 30)
    assert torch.allclose(local_mean(x, 32), x.mean((2, 3), keepdim=True))
    local = spread(local_mean(x, 5), *x.shape[2:])
    assert local.shape == x.shape
    assert torch.allclose(local[:, :, 10, 10], x[:, :, 8:13, 8:13].mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.57), ("small", 4.18), ("base", 8.81)])
def test_sizes_have_the_parameters_that_the_docs_say(size, millions):
    count = sum(p.numel() for p in Restorer(ModelConfig.named(size)).parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.1)
