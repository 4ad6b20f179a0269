"""Continuous batching: who shares a step, who waits for whom, and whose failure is whose."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from udair.bundle import load_bundle
from udair.data.patches import to_array, to_tensor
from udair.inference import plan, restore
from udair.models.restorer import Restorer
from udair.weights import packaged
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.model.ticket import DeadlinePassed, EngineError, Overloaded

BUNDLE = load_bundle(packaged("tiny"))
SIDE = 64


class Gate:
    """Holds the model back until it is opened, and writes down the shapes that come by."""

    def __init__(self, model: Restorer) -> None:
        self.model, self.open, self.steps = model, threading.Event(), []

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def residual(self, image_BCHW, given):
        self._pass(image_BCHW)
        return self.model.residual(image_BCHW, given)

    def shallow(self, image_BCHW, given):
        self._pass(image_BCHW)
        return self.model.shallow(image_BCHW, given)

    def _pass(self, image_BCHW) -> None:
        assert self.open.wait(30)
        self.steps.append(tuple(image_BCHW.shape))
        if bool((image_BCHW == 1.0).all(dim=(1, 2, 3)).any()):
            raise RuntimeError("white images are not for me")


@pytest.fixture
def gate():
    return Gate(BUNDLE.model)


@pytest.fixture
def engine(gate):
    made = Engine(gate, 4 * SIDE**2, piece_bytes=1, max_waiting=8)
    yield made
    gate.open.set()
    made.close()


def _image(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (height, width, 3), dtype=np.uint8)


def _offline(image: np.ndarray, row=None) -> np.ndarray:
    return to_array(restore(BUNDLE.model, to_tensor([image])[0], row))


async def _after(gate, coroutines):
    """Start all, and open the gate when all have arrived."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0.3)
    gate.open.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_images_of_any_size_give_the_pixels_of_each_alone_and_share_steps(engine, gate):
    images = [
        _image(0),
        _image(1, 150, 100),
        _image(2, 40, 90),
        _image(3, 64, 64),
        _image(4, 30, 31),
        _image(5, 16, 16),
    ]
    answers = asyncio.run(_after(gate, [engine.submit(image, None) for image in images]))
    for image, done in zip(images, answers, strict=True):
        assert int(abs(done.image.astype(int) - _offline(image).astype(int)).max()) <= 1
    assert max(done.batch for done in answers) >= 2
    assert max(shape[0] for shape in gate.steps) <= 4  # the budget
    assert sum(done.forward_s for done in answers) > 0


def test_images_of_one_shape_are_embedded_at_once_where_that_is_asked_for(gate):
    batches: list[int] = []

    def embed(image_BCHW, modulation=None):
        batches.append(len(image_BCHW))
        return gate.model.embed(image_BCHW, modulation)

    def cannot_look():
        raise ValueError("no look")

    gate.embed = embed
    engine = Engine(gate, 4 * SIDE**2, piece_bytes=1, embed_together=True)
    images = [_image(seed) for seed in range(4)] + [_image(9, 40, 90)]
    row = replace(gate.model.identity(), gain_B=torch.ones(1))
    asked = [engine.submit(image, row if seed == 3 else None) for seed, image in enumerate(images)]
    *answers, failed = asyncio.run(_after(gate, [*asked, engine.submit(_image(7), None, embed=cannot_look)]))
    engine.close()
    for seed, (image, done) in enumerate(zip(images, answers, strict=True)):
        expected = _offline(image, row if seed == 3 else None)
        assert int(abs(done.image.astype(int) - expected.astype(int)).max()) <= 1
    assert max(batches) >= 2
    assert isinstance(failed, EngineError)


def test_a_small_image_does_not_wait_for_a_large_one(engine, gate):
    ended: list[str] = []

    async def ask(name: str, image: np.ndarray) -> None:
        await engine.submit(image, None)
        ended.append(name)

    asyncio.run(_after(gate, [ask("large", _image(0, 700, 700)), ask("small", _image(1))]))
    assert ended == ["small", "large"]


def test_one_image_that_fails_fails_alone(engine, gate):
    images = [_image(0), np.full((SIDE, SIDE, 3), 255, np.uint8), _image(2)]
    first, bad, last = asyncio.run(_after(gate, [engine.submit(image, None) for image in images]))
    assert isinstance(bad, EngineError)
    assert "white images" in str(bad)
    assert np.abs(first.image.astype(int) - _offline(images[0])).max() <= 1
    assert np.abs(last.image.astype(int) - _offline(images[2])).max() <= 1
    assert engine.alive


def test_too_many_images_are_refused_at_once(engine, gate):
    answers = asyncio.run(_after(gate, [engine.submit(_image(n), None) for n in range(11)]))
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 3
    assert engine.waiting == engine.waiting_pixels == 0


def test_time_that_is_up_and_callers_that_went_away_cost_nothing(engine, gate):
    async def scenario():
        blocking = asyncio.create_task(engine.submit(_image(0), None))
        await asyncio.sleep(0.2)
        late = asyncio.create_task(engine.submit(_image(1), None, timeout_s=0.1))
        gone = asyncio.create_task(engine.submit(_image(2, 32, 32), None))
        await asyncio.sleep(0.3)
        gone.cancel()
        gate.open.set()
        return await asyncio.gather(blocking, late, gone, return_exceptions=True)

    _, late, gone = asyncio.run(scenario())
    assert isinstance(late, DeadlinePassed)
    assert isinstance(gone, asyncio.CancelledError)
    assert (1, 3, 32, 32) not in gate.steps
    assert len(gate.steps) == 1


def test_an_answer_that_is_not_finite_is_an_error(engine, gate):
    row = BUNDLE.model.identity()
    row.affine_B6[:] = float("inf")
    gate.open.set()
    (answer,) = asyncio.run(_after(gate, [engine.submit(_image(0), row)]))
    assert isinstance(answer, EngineError)


def test_sixteen_bits_hold_more_than_eight(engine, gate):
    gate.open.set()
    (answer,) = asyncio.run(_after(gate, [engine.submit(_image(0), None, bits16=True)]))
    assert answer.image.dtype == np.uint16
    assert np.abs(answer.image / 257.0 - _offline(_image(0))).max() <= 1.0
    assert len(np.unique(answer.image)) > 256


def test_closing_finishes_what_was_submitted(gate):
    engine = Engine(gate, 4 * SIDE**2, piece_bytes=1)
    gate.open.set()

    async def scenario():
        task = asyncio.create_task(engine.submit(_image(0, 150, 150), None))
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.close)
        return await task

    assert asyncio.run(scenario()).image.shape == (150, 150, 3)
    assert not engine.alive


def test_the_gallery_shows_the_endpoints_pixels_of_a_picture_that_is_run_in_pieces():
    """Steps of one piece, as on a CPU, and the same pieces: not one level differs."""
    image, smaller = _image(3, 3 * 256, 4 * 256), 2**26
    with torch.inference_mode():
        shown = to_array(restore(BUNDLE.model, to_tensor([image])[0], piece_bytes=smaller)[None])[0]
        assert not plan(BUNDLE.model, *image.shape[:2], piece_bytes=smaller).whole
    engine = Engine(BUNDLE.model, 288**2, piece_bytes=smaller)
    try:
        answered = asyncio.run(engine.submit(image, None)).image
    finally:
        engine.close()
    assert np.array_equal(answered, shown)
