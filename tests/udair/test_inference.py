import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from udair.config import ModelConfig
from udair.errors import ConfigError, ShapeError
from udair.inference import Restoration, forward_tiles, restore
from udair.models.restorer import Restorer
from udair.tiling import plan

SMALL_BUDGET = 6_000_000


@pytest.fixture(scope="module")
def model() -> Restorer:
    """Every path at work, attention and intent included: what a tile could get wrong shows."""
    torch.manual_seed(0)
    config = ModelConfig("test", (8, 12, 16, 16), (1, 1, 1, 1), codes=16, code_dim=8, embedder_width=8)
    made = Restorer(config).eval()
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.requires_grad_(False)


def _smooth(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    fine = 0.05 * torch.randn(3, height, width, generator=generator)
    return (torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0] + fine).clamp(0, 1)


def test_small_images_are_restored_whole(bundle):
    image = torch.rand(3, 40, 50)
    assert plan(bundle.model, 40, 50).whole
    assert torch.equal(restore(bundle.model, image), bundle.model(image[None])[0].clamp(0, 1))


@pytest.mark.parametrize("size", [(700, 403), (1200, 100), (100, 1200), (257, 600)])
@pytest.mark.parametrize("tone", ["keep", "restore"])
def test_pieces_give_the_pixels_of_the_whole(model, size, tone):
    image = _smooth(*size)
    assert plan(model, *size).whole
    assert not plan(model, *size, SMALL_BUDGET).whole
    whole = restore(model, image, tone=tone)
    pieces = restore(model, image, tone=tone, budget_bytes=SMALL_BUDGET)
    assert float((whole - pieces).abs().max()) <= 1e-4  # the limit is 2 / 255
    assert float((whole - image).abs().mean()) > 0.01


def test_pieces_with_an_adapter_give_the_pixels_of_the_whole(model):
    image = _smooth(600, 420)
    identity = model.identity()
    row = replace(
        identity, film_BF=identity.film_BF + 0.1, gain_B=identity.gain_B + 0.2, affine_B6=identity.affine_B6 + 0.05
    )
    whole = restore(model, image, row)
    assert float((whole - restore(model, image, row, budget_bytes=SMALL_BUDGET)).abs().max()) <= 1e-4
    assert float((whole - restore(model, image)).abs().max()) > 0.01


def test_pieces_of_several_pictures_run_together_and_stay_apart(model):
    images = [_smooth(500, 420), _smooth(500, 420).flip(2)]
    works = [
        Restoration(model, image, model.embed(image[None]), tone=tone, budget_bytes=SMALL_BUDGET)
        for image, tone in zip(images, ("keep", "restore"), strict=True)
    ]
    while any(work.left for work in works):
        assert works[0].shape == works[1].shape
        forward_tiles(model, [(work, work.left.popleft()) for work in works])
    for work, image, tone in zip(works, images, ("keep", "restore"), strict=True):
        assert work.done
        assert float((work.result().clamp(0, 1) - restore(model, image, tone=tone)).abs().max()) <= 1e-4


@pytest.mark.parametrize("size", [(300, 200), (97, 500), (1, 1), (257, 257), (33, 330), (330, 33), (1, 700)])
@pytest.mark.parametrize("fill", [None, 0.0, 1.0])
def test_any_picture_comes_back_in_its_size_and_range(bundle, size, fill):
    image = torch.rand(3, *size) if fill is None else torch.full((3, *size), fill)
    for budget in ({}, {"budget_bytes": SMALL_BUDGET}):
        restored = restore(bundle.model, image, **budget)
        assert restored.shape == image.shape
        assert float(restored.min()) >= 0
        assert float(restored.max()) <= 1


def test_a_plan_keeps_to_its_budget_or_says_what_it_needs(model):
    made = plan(model, 3000, 4000, 2**26)
    assert not made.whole
    assert made.deep_bytes + made.piece_bytes <= 2**26
    with pytest.raises(ConfigError, match=r"budget_bytes is 1000; a picture of 4000 x 3000 needs \d+ or more"):
        plan(model, 3000, 4000, 1000)


@pytest.mark.parametrize("budget", [2**31, 2**27])
def test_a_plan_tells_the_memory_that_is_taken(budget):
    """In a process of its own: the peak of resident memory knows no way back."""
    program = f"""
import resource, torch
from udair.bundle import load_bundle
from udair.inference import restore
from udair.tiling import plan
from udair.weights import packaged
torch.set_num_threads(1)
model = load_bundle(packaged("tiny"), replay=False).model
image = torch.rand(3, 1200, 1600)
restore(model, image[:, :64, :64])
seen, made = model.embed(image[None]), plan(model, 1200, 1600, {budget})
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
before = peak()
restore(model, image, whole=seen, budget_bytes={budget})
print(made.whole, peak() - before - image.nbytes, made.piece_bytes + made.deep_bytes)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    whole, taken, told = done.stdout.split()
    assert (whole == "True") == (budget == 2**31)
    assert int(taken) < 1.1 * int(told) + 16 * 2**20


def test_fifty_megapixels_fit_the_default_budget():
    made = plan(Restorer(ModelConfig.named("base")), 5792, 8632)
    assert not made.whole
    assert max(made.tile) > 512


def test_wrong_shapes_and_tones_are_refused(bundle):
    with pytest.raises(ShapeError):
        restore(bundle.model, torch.rand(1, 3, 300, 300))
    with pytest.raises(ShapeError):
        restore(bundle.model, torch.rand(3, 0, 10))
    with pytest.raises(ConfigError, match="tone is 'dark'"):
        restore(bundle.model, torch.rand(3, 30, 30), tone="dark")


@pytest.mark.parametrize("height", [8, 255, 256, 257])
@pytest.mark.parametrize("width", [32, 300])
def test_every_size_around_the_smallest_tile_is_restored(bundle, height, width):
    restored = restore(bundle.model, torch.rand(3, height, width), budget_bytes=SMALL_BUDGET)
    assert restored.shape == (3, height, width)
    assert bool(torch.isfinite(restored).all())
