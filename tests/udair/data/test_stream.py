import threading

import pytest
import torch

from udair.data.stream import BatchStream
from udair.data.tasks import Batch


def draw(step: int, batch: int, patch: int) -> list[Batch]:
    pixels = torch.full((batch, 3, patch, patch), float(step))
    return [
        Batch(
            pixels,
            pixels,
            torch.zeros(batch, dtype=torch.long),
            torch.zeros(batch),
            torch.ones(batch, dtype=torch.long),
        )
    ]


def test_what_is_drawn_ahead_is_what_would_have_been_drawn():
    stream = BatchStream(draw, ahead=True)
    for step, batch, side in [(0, 2, 32), (1, 2, 32), (2, 1, 64), (7, 1, 64)]:  # a new size, and a jump
        taken = stream.take(step, batch, side)
        assert torch.equal(taken.clean_BCHW, draw(step, batch, side)[0].clean_BCHW)


def test_the_next_step_is_drawn_while_this_one_is_worked_on():
    drawn: dict[int, threading.Event] = {step: threading.Event() for step in range(3)}

    def noted(step: int, batch: int, patch: int) -> list[Batch]:
        drawn[step].set()
        return draw(step, batch, patch)

    BatchStream(noted, ahead=True).take(0, 1, 32)
    assert drawn[1].wait(10)
    assert not drawn[2].is_set()


def test_a_draw_that_fails_fails_the_step_that_needs_it():
    def broken(step: int, batch: int, patch: int) -> list[Batch]:
        if step == 1:
            raise ValueError("no patch")
        return draw(step, batch, patch)

    stream = BatchStream(broken, ahead=True)
    stream.take(0, 1, 32)
    with pytest.raises(ValueError, match="no patch"):
        stream.take(1, 1, 32)


@pytest.mark.parametrize("ahead", [True, False])
def test_a_chunk_holds_the_batches_of_several_steps_and_any_step_can_be_the_first(ahead):
    def chunk_of_three(chunk: int, batch: int, patch: int) -> list[Batch]:
        return [draw(3 * chunk + step, batch, patch)[0] for step in range(3)]

    for first in (0, 4):
        stream = BatchStream(chunk_of_three, steps=3, ahead=ahead)
        for step in range(first, first + 7):
            assert float(stream.take(step, 2, 32).clean_BCHW.mean()) == step
