"""The model as it serves: half the bits in convolutions, and of 255 levels the next at most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from udair.bundle import load_bundle
from udair.data.patches import to_tensor
from udair.data.scenes import dead_leaves
from udair.models import served
from udair.models.blocks import DenseBlock
from udair.models.restorer import Restorer
from udair.models.served import as_served
from udair.weights import packaged


@pytest.fixture(scope="module")
def base() -> Restorer:
    return load_bundle(packaged("base"), replay=False).model


@pytest.mark.parametrize("tone", ["keep", "restore"])
def test_half_the_bits_are_the_next_level_at_most(base: Restorer, tone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "multiplies_bfloat16", lambda: True)
    half = as_served(base)
    scenes = np.stack(dead_leaves(3, 128, seed=5)).astype(np.float32)
    noisy = scenes + np.random.default_rng(0).normal(0, 12, scenes.shape)
    images = to_tensor([*scenes.astype(np.uint8), *noisy.clip(0, 255).round().astype(np.uint8)])
    with torch.inference_mode():
        apart = 255 * (half(images, tone=tone).clamp(0, 1) - base(images, tone=tone).clamp(0, 1)).abs()
    assert 0 < float(apart.max()) < 2
    assert float(apart.mean()) < 0.15
    assert sum(block.halved for block in half.modules() if isinstance(block, DenseBlock)) == 17


def test_the_model_that_was_given_stays_as_it_was(base: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    monkeypatch.setattr(served, "multiplies_bfloat16", lambda: True)
    as_served(base)
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    assert {tensor.dtype for tensor in base.state_dict().values()} == {torch.float32}


def test_a_processor_without_the_instructions_gives_every_bit(base: Restorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "multiplies_bfloat16", lambda: False)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(as_served(base)(image), base(image), atol=1e-6)
