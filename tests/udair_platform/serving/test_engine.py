"""Continuous batching: who shares a step, who waits for whom, and whose failure is whose."""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from udair.bundle import load_bundle
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.models.restorer import Restorer
from udair.tiling import plan
from udair.weights import packaged
from udair_platform.serving.model import forward
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.model.ticket import DeadlinePassed, EngineError, Overloaded

BUNDLE = load_bundle(packaged("tiny"))
SIDE = 64


class Gate:
    """Holds the model back until it is opened, and writes down the shapes that come by."""

    def __init__(self, model: Restorer) -> None:
        self.model, self.open, self.reached, self.steps = model, threading.Event(), threading.Event(), []

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def __call__(self, image_BCHW, modulation=None, degradation=None, tone="keep"):
        self._pass(image_BCHW)
        return self.model(image_BCHW, modulation, degradation, tone)

    def residual(self, image_BCHW, given):
        self._pass(image_BCHW)
        return self.model.residual(image_BCHW, given)

    def shallow(self, image_BCHW, given):
        self._pass(image_BCHW)
        return self.model.shallow(image_BCHW, given)

    def _pass(self, image_BCHW) -> None:
        self.reached.set()
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


@pytest.fixture
def seconds(gate, monkeypatch):
    """A clock of the forward thread by which every pass takes as many seconds as this list says, in turn; then one."""
    now, takes = [0.0], []
    monkeypatch.setattr(forward, "time", SimpleNamespace(monotonic=lambda: now[0]))
    let_through = gate._pass

    def passed(image_BCHW):
        let_through(image_BCHW)
        now[0] += takes.pop(0) if takes else 1.0

    monkeypatch.setattr(gate, "_pass", passed)
    return takes


def _image(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 250, (height, width, 3), dtype=np.uint8)


def _offline(image: np.ndarray, row=None) -> np.ndarray:
    return to_array(restore(BUNDLE.model, to_tensor([image])[0], row))


async def _after(gate, coroutines):
    """Start all, and open the gate when all have arrived."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)  # each has run up to its wait
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


def test_small_images_of_one_shape_go_through_in_one_pass_where_that_is_asked_for(gate):
    def cannot_look():
        raise ValueError("no look")

    engine = Engine(gate, 4 * SIDE**2, at_once=True)
    white = np.full((SIDE, SIDE, 3), 255, np.uint8)
    images = [_image(0), _image(1), white, _image(3), _image(4), _image(5, 40, 90), _image(6, 700, 700), _image(7)]
    row = replace(gate.model.identity(), gain_B=torch.ones(1))
    rows = [row if seed == 3 else None for seed in range(len(images))]
    asked = [
        engine.submit(image, row, name=str(seed == 3), bits16=seed == 7)
        for seed, (image, row) in enumerate(zip(images, rows, strict=True))
    ]
    *answers, failed = asyncio.run(_after(gate, [*asked, engine.submit(_image(8), None, embed=cannot_look)]))
    engine.close()
    for seed, (image, done) in enumerate(zip(images, answers, strict=True)):
        if image is white:
            assert isinstance(done, EngineError)
            continue
        shown = done.image if seed != 7 else np.round(done.image / 257)
        assert int(abs(shown.astype(int) - _offline(image, rows[seed]).astype(int)).max()) <= 1
        assert done.forward_s > 0
    together = {shape for shape in gate.steps if shape[0] > 1}
    assert together == {(4, 3, SIDE, SIDE)}
    assert (
        max(done.domains for done in answers if not isinstance(done, Exception)) == 1
    )  # the white one's pass was undone
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
        await asyncio.to_thread(gate.reached.wait, 30)
        late = asyncio.create_task(engine.submit(_image(1), None, timeout_s=0.0))
        gone = asyncio.create_task(engine.submit(_image(2, 32, 32), None))
        await asyncio.sleep(0)  # both have been submitted
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


@pytest.mark.parametrize(("first_s", "place"), [(1.0, 2), (5.0, 6)])
def test_who_sends_many_images_waits_for_them_and_another_tenant_for_no_step(gate, seconds, first_s, place):
    seconds += [1.0, first_s]
    engine = Engine(gate, SIDE**2, piece_bytes=1, max_waiting=32)  # one image a step

    async def ask():
        done: list[str] = []

        async def one(tenant: str, seed: int) -> None:
            await engine.submit(_image(seed), None, tenant=tenant)
            done.append(tenant)

        flood = [asyncio.create_task(one("many", seed)) for seed in range(12)]
        await asyncio.to_thread(gate.reached.wait, 10)  # the first of them is being run
        few = [asyncio.create_task(one("few", seed)) for seed in range(2)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*flood, *few)
        return done

    try:
        done = asyncio.run(ask())
    finally:
        engine.close()
    first, second = (place for place, tenant in enumerate(done) if tenant == "few")
    assert first == 0  # between two blocks of the step under way
    assert second == place  # once the flood has had as much again


def test_a_step_in_which_another_tenants_image_goes_before_gives_the_same_pixels(gate):
    engine = Engine(gate, SIDE**2, piece_bytes=1)
    images = [_image(0, 128, 128), _image(1)]

    async def ask():
        many = [asyncio.create_task(engine.submit(images[0], None, tenant="one")) for _ in range(2)]
        await asyncio.to_thread(gate.reached.wait, 10)
        short = asyncio.create_task(engine.submit(images[1], None, tenant="other"))
        await asyncio.sleep(0)
        gate.open.set()
        return (await asyncio.gather(*many, short))[1:]

    try:
        answers = asyncio.run(ask())
    finally:
        engine.close()
    for image, done in zip(images, answers, strict=True):
        assert int(abs(done.image.astype(int) - _offline(image).astype(int)).max()) <= 1


def test_a_step_is_not_charged_for_what_went_before_it(gate, seconds):
    seconds += [10.0, 20.0]
    engine = Engine(gate, SIDE**2)

    async def ask():
        first = asyncio.create_task(engine.submit(_image(0), None, tenant="one"))
        await asyncio.to_thread(gate.reached.wait, 10)
        others = [asyncio.create_task(engine.submit(_image(1), None, tenant=name)) for name in ("one", "other")]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(first, *others)

    try:
        first, last, before = asyncio.run(ask())
    finally:
        engine.close()
    assert (first.forward_s, before.forward_s, last.forward_s) == (10.0, 20.0, 1.0)


def test_who_sends_one_image_at_a_time_is_not_interrupted(gate):
    engine = Engine(gate, SIDE**2)

    async def ask():
        done: list[str] = []

        async def one(tenant: str) -> None:
            await engine.submit(_image(0), None, tenant=tenant)
            done.append(tenant)

        first = asyncio.create_task(one("first"))
        await asyncio.to_thread(gate.reached.wait, 10)
        others = [asyncio.create_task(one(f"{number}")) for number in range(3)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(first, *others)
        return done

    try:
        done = asyncio.run(ask())
    finally:
        engine.close()
    assert done == ["first", "0", "1", "2"]  # who came first is done first


def test_an_image_that_fails_between_two_blocks_of_anothers_step_fails_alone(gate):
    engine = Engine(gate, SIDE**2, piece_bytes=1)

    async def ask():
        fine = [asyncio.create_task(engine.submit(_image(0), None, tenant="one")) for _ in range(2)]
        await asyncio.to_thread(gate.reached.wait, 10)
        white = np.full((SIDE, SIDE, 3), 255, np.uint8)
        bad = asyncio.create_task(engine.submit(white, None, tenant="other"))
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*fine, bad, return_exceptions=True)

    try:
        fine, _, bad = asyncio.run(ask())
    finally:
        engine.close()
    assert np.array_equal(fine.image, _offline(_image(0)))
    assert isinstance(bad, EngineError)


def test_images_of_low_priority_wait_for_the_others_of_their_tenant_and_still_end(gate, seconds):
    engine = Engine(gate, SIDE**2, piece_bytes=1, max_waiting=64)  # one image a step

    async def ask():
        done: list[bool] = []

        async def one(low: bool, seed: int) -> None:
            await engine.submit(_image(seed), None, tenant="one", low=low)
            done.append(low)

        bulk = [asyncio.create_task(one(True, seed)) for seed in range(6)]
        await asyncio.to_thread(gate.reached.wait, 10)  # the first of them is being run
        others = [asyncio.create_task(one(False, seed)) for seed in range(24)]
        await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*bulk, *others)
        return done

    try:
        done = asyncio.run(ask())
    finally:
        engine.close()
    begun, rest = done[:4], done[4:20]
    assert sum(begun) <= 4  # those that had begun
    assert 1 <= sum(rest) <= 5  # about an eighth of the turns: neither all nor none


def test_a_tenant_may_fill_half_of_the_places_and_is_told_when_to_come_again(gate):
    engine = Engine(gate, SIDE**2, piece_bytes=1, max_waiting=8)

    async def ask():
        asked = [engine.submit(_image(seed), None, tenant="many") for seed in range(6)]
        tasks = [asyncio.create_task(each) for each in [*asked, engine.submit(_image(9), None, tenant="few")]]
        await asyncio.sleep(0)
        gate.open.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    try:
        *many, few = asyncio.run(ask())
        engine._forward.pixel_s = 1e-3  # as if a pixel took a millisecond
        gate.open.clear()
        again = asyncio.run(_refused(engine, gate))
    finally:
        gate.open.set()
        engine.close()
    assert [isinstance(answer, Overloaded) for answer in many] == [False] * 4 + [True] * 2
    assert "4 images wait already of this tenant; expected fewer than 4" in str(many[4])
    assert not isinstance(few, Exception)
    assert again.retry_after_s == math.ceil(4 * SIDE**2 * 1e-3 / 2)


async def _refused(engine, gate) -> Overloaded:
    tasks = [asyncio.create_task(engine.submit(_image(seed), None, tenant="many")) for seed in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refusal:
        await engine.submit(_image(5), None, tenant="many")
    gate.open.set()
    await asyncio.gather(*tasks)
    return refusal.value
