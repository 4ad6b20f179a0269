from dataclasses import fields, replace

import pytest
import torch

from udair.config import ModelConfig
from udair.errors import ConfigError, ShapeError
from udair.models.blocks import DenseBlock, run_in_bands, spread, views
from udair.models.modulation import Modulation, stack
from udair.models.restorer import Restorer


@pytest.fixture(scope="module")
def model() -> Restorer:
    torch.manual_seed(0)
    made = Restorer(ModelConfig("test", (8, 12, 16), (1, 1, 1), codes=16, code_dim=8, embedder_width=8)).eval()
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


def test_each_sample_of_a_batch_has_its_own_intent(model):
    images = torch.rand(2, 3, 32, 48)
    together = model(images, tone=torch.tensor([0, 1]))
    for index, tone in enumerate(("keep", "restore")):
        alone = model(images[index : index + 1], tone=tone)
        assert float((together[index] - alone[0]).abs().max()) < 1e-5
    assert not torch.equal(model(images, tone="keep"), model(images, tone="restore"))
    assert torch.equal(model(images), model(images, tone="keep"))


def test_a_tone_that_is_none_is_refused(model):
    with pytest.raises(ConfigError, match="tone is 'bright'; expected keep"):
        model(torch.rand(1, 3, 16, 16), tone="bright")
    with pytest.raises(ShapeError, match="an index of keep, restore for each sample"):
        model(torch.rand(2, 3, 16, 16), tone=torch.tensor([0]))


def test_a_new_model_changes_nothing_and_every_weight_gets_a_gradient():
    torch.manual_seed(0)
    made = Restorer(ModelConfig("test", (8, 12, 16), (1, 1, 1), codes=16, code_dim=8, embedder_width=8))
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(made(image), image)
    for parameter in made.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    made(image, tone=torch.tensor([0, 1])).square().mean().backward()
    without = [name for name, parameter in made.named_parameters() if parameter.grad is None]
    assert not without


def test_a_block_adds_what_its_convolutions_give_by_hand():
    block = DenseBlock(1, 2, 0, attend=True, patch=12)
    block.first.weight.data = torch.zeros(1, 1, 3, 3)
    block.first.weight.data[0, 0, 1, 1] = 2.0
    block.second.weight.data = block.first.weight.data * 1.5  # 3
    block.film.bias.data = torch.tensor([0.5, -1.0])  # scale 1.5, shift -1
    x = torch.tensor([[[[1.0, 0.0]]]])
    # relu(2 * 1.5 - 1) * 3 = 6 and relu(-1) * 3 = 0; the gate of zero weights is one.
    assert block(x, torch.zeros(1, 2), None).tolist() == [[[[7.0, 0.0]]]]
    assert block(x, torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).tolist() == [[[[10.0, 0.0]]]]


def test_a_large_picture_is_pooled_over_views_of_seven_eighths_and_a_small_one_at_once():
    x = torch.zeros(1, 1, 16, 4)
    x[:, :, 15] = 14.0  # in the lower view alone: a fourteenth of it
    assert views(x, 16).tolist() == [[[[14 / 16]]]]
    seen = views(x, 12)
    assert seen.flatten().tolist() == pytest.approx([0.0, 1.0])
    assert spread(seen, 0, 16, 4, 16)[0, 0, :, 0].tolist() == pytest.approx([(row + 0.5) / 16 for row in range(16)])
    torch.testing.assert_close(spread(seen, 4, 3, 4, 16), spread(seen, 0, 16, 4, 16)[:, :, 4:7])


@pytest.mark.parametrize("attend", [True, False])
def test_a_block_in_bands_gives_the_same_numbers(attend):
    torch.manual_seed(0)
    block = DenseBlock(4, 3, 0, attend, patch=6).eval()
    for parameter in block.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    x, embedding = torch.randn(1, 4, 29, 7), torch.randn(1, 3)
    with torch.no_grad():
        expected = block(x, embedding, None)
    for rows in (1, 8, 28, 100):
        torch.testing.assert_close(run_in_bands(block, x.clone(), embedding, None, rows), expected)


def test_codes_of_a_large_picture_are_read_in_bands_that_change_nothing(model, monkeypatch):
    image = torch.rand(1, 3, 150, 77)
    at_once = model.embed(image)
    monkeypatch.setattr("udair.models.degradation.BAND_PIXELS", 3000)
    in_bands = model.embed(image)
    assert torch.equal(in_bands.histogram_BK, at_once.histogram_BK)
    torch.testing.assert_close(in_bands.embedding_BD, at_once.embedding_BD)


def test_an_adapter_of_base_is_small():
    model = Restorer(ModelConfig.named("base"))
    assert sum(getattr(model.identity(), item.name).nbytes for item in fields(Modulation)) < 2**20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"widths": (8,), "counts": (1,)}, "two levels or more"),
        ({"widths": (8, 8), "counts": (1,)}, "2 widths and 1 counts"),
        ({"widths": (8, 2), "counts": (1, 1)}, "model.widths is 2"),
        ({"widths": (8, 8), "counts": (1, 0)}, "model.counts is 0"),
    ],
)
def test_architectures_out_of_range_are_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        ModelConfig("test", **wrong)


def test_a_config_is_read_back_and_one_of_another_family_is_refused():
    config = ModelConfig.named("base")
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match="family 'none named'; expected 'dense-1'"):
        ModelConfig.from_dict({"name": "small", "width": 32, "encoder_blocks": [2, 4, 6]})
    with pytest.raises(ConfigError, match="lacks \\['counts'\\]"):
        ModelConfig.from_dict({"family": "dense-1", "name": "x", "widths": [8, 8]})


@pytest.mark.parametrize(("size", "millions"), [("tiny", 0.79), ("base", 10.68)])
def test_sizes_have_the_parameters_that_the_docs_say(size, millions):
    count = sum(p.numel() for p in Restorer(ModelConfig.named(size)).parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.1)
