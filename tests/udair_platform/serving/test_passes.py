"""Whole passes: the pixels of each picture alone, whatever else is in its batch, and nothing that a graph cannot hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from udair.bundle import load_bundle
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.models.modulation import stack
from udair.weights import packaged
from udair_platform.serving.model.passes import MOST_GRAPHS, Asked, Passes

MODEL = load_bundle(packaged("tiny")).model
SHARP = replace(MODEL.identity(), gain_B=torch.full((1,), 0.5))
BRIGHT = replace(MODEL.identity(), curve_B3T=torch.full_like(MODEL.identity().curve_B3T, 0.1))


def image(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (height, width, 3), dtype=np.uint8)


def alone(asked: Asked) -> np.ndarray:
    return to_array(restore(MODEL, to_tensor([asked.image])[0], asked.row, tone=asked.tone))


@pytest.mark.parametrize("capture", [False, True])
@pytest.mark.parametrize("rows", [(None, None, None), (None, SHARP, None), (None, SHARP, BRIGHT)])
def test_each_picture_gets_the_pixels_it_gets_alone(rows, capture) -> None:
    passes = Passes(MODEL, autocast=False, capture=capture)
    for first in (0, 10):  # the second of a shape comes by when the first was prepared
        asked = [
            Asked(image(first + at), row, tone)
            for at, (row, tone) in enumerate(zip(rows, ("keep", "restore", "keep"), strict=True))
        ]
        answers = passes.start(asked).wait()
        assert len(answers) == 3
        for item, answer in zip(asked, answers, strict=True):
            assert int(np.abs(answer.astype(int) - alone(item)).max()) <= 1
    assert np.abs(alone(asked[2]).astype(int) - asked[2].image).mean() > (10 if rows[2] is BRIGHT else 0)


def test_an_answer_is_not_written_over_by_the_next_pass() -> None:
    passes = Passes(MODEL, autocast=False, capture=True)
    first, second = Asked(image(0), None, "keep"), Asked(image(1), None, "keep")
    pending = passes.start([first])
    passes.start([second]).wait()
    assert int(np.abs(pending.wait()[0].astype(int) - alone(first)).max()) <= 1


def test_what_is_not_finite_is_no_answer_and_the_others_are() -> None:
    wild = replace(MODEL.identity(), affine_B6=torch.full((1, 6), float("inf")))
    asked = [Asked(image(0), None, "keep"), Asked(image(1), wild, "keep"), Asked(image(2), SHARP, "keep")]
    first, none, last = Passes(MODEL, autocast=False).start(asked).wait()
    assert none is None
    assert int(np.abs(first.astype(int) - alone(asked[0])).max()) <= 1
    assert int(np.abs(last.astype(int) - alone(asked[2])).max()) <= 1


def test_shapes_without_end_do_not_fill_the_memory() -> None:
    passes = Passes(MODEL, autocast=False, capture=True)
    for height in range(16, 16 + MOST_GRAPHS + 4):
        passes.start([Asked(image(0, height, 16), None, "keep")]).wait()
    assert len(passes._prepared) == MOST_GRAPHS


class Counted(TorchDispatchMode):
    """Counts operations: on a GPU each is a launch, and costs more than the arithmetic of a small picture."""

    operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operations += 1
        return function(*args, **(kwargs or {}))


def test_more_pictures_in_a_pass_are_hardly_more_operations() -> None:
    passes, counted = Passes(MODEL, autocast=False), []
    for count in (1, 32):
        with Counted() as mode:
            passes.start([Asked(image(at), SHARP, "keep") for at in range(count)]).wait()
        counted.append(mode.operations)
    assert counted[1] < counted[0] + 32


class OnlyTheDevice(TorchDispatchMode):
    """Refuses whatever a CUDA graph cannot hold: tensors of the host, and answers that it would wait for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        for item in tree_leaves((args, kwargs)):
            assert not isinstance(item, torch.Tensor) or item.device.type == "meta", f"{function} reads the host"
        return function(*args, **(kwargs or {}))


def test_a_pass_waits_for_nothing_and_reads_nothing_of_the_host() -> None:
    model = load_bundle(packaged("tiny")).model.to("meta")
    rows = stack([model.identity()] * 2)
    x, tone = torch.zeros(2, 3, 40, 56, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    with OnlyTheDevice(), torch.inference_mode():
        assert model(x, rows.without_curve(), tone=tone).shape == x.shape
        assert model(x, None, tone=tone).shape == x.shape
        with pytest.raises(RuntimeError, match="item"):
            model(x, rows, tone=tone)  # with a curve it asks: that is why such rows are run eagerly


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_graph_gives_the_pixels_of_an_eager_pass() -> None:
    model = load_bundle(packaged("tiny"), device="cuda").model
    passes = Passes(model, autocast=True)
    row = SHARP.to("cuda")
    for seed in range(6):
        asked = [Asked(image(seed + at), row if at else None, "keep") for at in range(3)]
        graph, eager = passes.start(asked).wait(), Passes(model, autocast=True, capture=False).start(asked).wait()
        for one, other in zip(graph, eager, strict=True):
            assert int(np.abs(one.astype(int) - other).max()) <= 1
