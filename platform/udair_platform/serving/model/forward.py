"""Passes of the model over tickets: small pictures whole, where that is asked for; the others in steps of tiles.

Tiles of different domains share a step, because an adapter is a row of the batch. Codes are read once
per image, and alone, so that the pixels do not depend on who else is in the batch.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from udair.data.patches import to_array, to_array16, to_tensor
from udair.inference import Restoration, Tiles, forward_tiles
from udair.models.blocks import DenseBlock
from udair.models.degradation import Degradation
from udair.models.restorer import Restorer
from udair.tiling import Piece, plan
from udair_platform.serving.model.passes import Asked, Passes, Pending
from udair_platform.serving.model.ticket import Done, EngineError, Ticket
from udair_platform.serving.model.turns import Turns
from udair_platform.telemetry import logger

_PACE = 0.1  # weight of the last image in the pace
_NOT_FINITE = "the model's answer is not finite."
_log = logger("serving")

# Called between two blocks of a step, with those whose step it is and the seconds that each has had of it so far; whether
# it has run something, which it may once in a step.
Between = Callable[[Sequence[Ticket], float], bool]


class Forward:
    """The model as the engine's thread runs it; an image that fails, fails alone. See `Engine` for the arguments."""

    def __init__(
        self, model: Restorer, budget_pixels: int, turns: Turns, *, piece_bytes: int, autocast: bool, at_once: bool
    ) -> None:
        self._model, self._budget, self._turns, self._piece_bytes = model, budget_pixels, turns, piece_bytes
        self.pixel_s = 0.0  # of model time for a pixel, lately
        self._device, self._autocast = model.enter.weight.device, autocast
        self._passes = Passes(model, autocast=autocast) if at_once else None
        self._ended = 0.0  # when the last whole pass did
        self._pause: Callable[[], None] | None = None
        self._runs_in = 0  # the thread of the step under way: the model may be another's, too
        self._hooks = [
            block.register_forward_hook(self._between_blocks)
            for block in model.modules()
            if isinstance(block, DenseBlock) and self._device.type == "cpu"
        ]

    def close(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _between_blocks(self, *_: object) -> None:
        if self._pause is not None and threading.get_ident() == self._runs_in:
            self._pause()

    def begin(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Answer those that go through in a whole pass; of the others read the codes: those that are on their way."""
        tickets = [ticket for ticket in tickets if self._looked_at(ticket)]
        at_once = [ticket for ticket in tickets if self._at_once(ticket)]
        under_way: tuple[list[Ticket], Pending, float] | None = None
        for chosen in self._batches(at_once):  # while the device is at one, the next is made
            started = time.monotonic()
            try:
                following = chosen, self._start(chosen), started
            except Exception as error:
                following = None
                self._apart(chosen, error)
            if under_way is not None:
                self._take(*under_way)
            under_way = following
        if under_way is not None:
            self._take(*under_way)
        served = set(map(id, at_once))
        return [ticket for ticket in tickets if id(ticket) not in served and self._embedded(ticket)]

    def _at_once(self, ticket: Ticket) -> bool:
        if self._passes is None or ticket.prepare is not None or ticket.bits16:
            return False
        height, width = ticket.image.shape[:2]
        return plan(self._model, height, width, piece_bytes=self._piece_bytes).whole

    def _batches(self, tickets: Sequence[Ticket]) -> Iterator[list[Ticket]]:
        """Images of one shape, as many as a step holds."""
        shapes: dict[object, list[Ticket]] = {}
        for ticket in tickets:
            shapes.setdefault(ticket.image.shape, []).append(ticket)
        for some in shapes.values():
            fits = max(1, self._budget // some[0].pixels)
            yield from (some[first : first + fits] for first in range(0, len(some), fits))

    def _start(self, tickets: Sequence[Ticket]) -> Pending:
        assert self._passes is not None
        return self._passes.start([Asked(ticket.image, ticket.row, ticket.tone) for ticket in tickets])

    def _take(self, tickets: Sequence[Ticket], pending: Pending, started: float) -> None:
        try:
            images = pending.wait()
        except Exception as error:
            self._apart(tickets, error)
            return
        now = time.monotonic()
        share = (now - max(started, self._ended)) / len(tickets)
        self._ended = now
        domains = len({ticket.name for ticket in tickets})
        for ticket, image in zip(tickets, images, strict=True):
            ticket.forward_s += share
            ticket.steps, ticket.batch, ticket.domains = 1, len(tickets), domains
            self._turns.took(ticket, share)
            if image is None:
                ticket.fail(EngineError(_NOT_FINITE))
            else:
                self._answer(ticket, image)

    def _apart(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """Nobody pays for another's image: each is tried by itself."""
        if len(tickets) == 1:
            tickets[0].fail(error)
            return
        _log.warning("batch_failed", images=len(tickets), error=f"{type(error).__name__}: {error}")
        for ticket in tickets:
            started = time.monotonic()
            try:
                pending = self._start([ticket])
            except Exception as its_own:
                ticket.fail(its_own)
            else:
                self._take([ticket], pending, started)

    def _embedded(self, ticket: Ticket) -> bool:
        """Read an image's codes; whether that went well."""
        began = time.monotonic()
        try:
            with torch.inference_mode():
                image_BCHW = to_tensor([ticket.image], self._device)
            if ticket.prepare is not None:
                ticket.row = ticket.prepare(image_BCHW[0], ticket.row)
            with torch.inference_mode(), self._precision():
                whole = self._model.embed(image_BCHW, ticket.row)
            ticket.restoration = self._restoration(ticket, image_BCHW[0], whole)
        except Exception as error:
            ticket.fail(error)
            return False
        ticket.forward_s += time.monotonic() - began
        return True

    def _restoration(self, ticket: Ticket, image_CHW: Tensor, whole: Degradation) -> Restoration:
        return Restoration(self._model, image_CHW, whole, ticket.row, tone=ticket.tone, piece_bytes=self._piece_bytes)

    def _looked_at(self, ticket: Ticket) -> bool:
        """Whether the image may begin; what its caller wants to know of it is seen to."""
        if ticket.gone():
            return False
        ticket.started = ticket.started or time.monotonic()
        try:
            if ticket.embed is not None and ticket.seen is None:
                ticket.seen = ticket.embed()
        except Exception as error:
            ticket.fail(error)
            return False
        return True

    def step(self, active: list[Ticket], between: Between | None = None) -> list[Ticket]:
        """Run one batch; the images that are not done, those that were served last at the end.

        Args:
            between: May run a step for somebody else; on CPUs.
        """
        chosen, tiles = self._choose(self._turns.order(active))
        lent_s, began = 0.0, time.monotonic()

        def pause() -> None:
            nonlocal lent_s
            paused, self._pause = time.monotonic(), None  # whoever goes before is not kept waiting in turn
            assert between is not None
            if between(chosen, (paused - began) / len(tiles)):
                lent_s = time.monotonic() - paused
            else:
                self._pause = pause

        self._pause, self._runs_in = (pause if between is not None else None), threading.get_ident()
        try:
            with self._precision():
                forward_tiles(self._model, tiles)
            if self._device.type == "cuda":
                torch.cuda.synchronize()
        except Exception as error:
            self._pause = None
            # Nobody pays for another's image: each is tried by itself.
            if len(chosen) == 1:
                chosen[0].fail(error)
            else:
                _log.warning("batch_failed", images=len(chosen), error=f"{type(error).__name__}: {error}")
                self._alone(chosen)
            return self._finish(active)
        self._pause = None
        share = (time.monotonic() - began - lent_s) / len(tiles)
        names = {ticket.name for ticket in chosen}
        for ticket in chosen:
            ticket.steps += 1
            ticket.batch, ticket.domains = max(ticket.batch, len(chosen)), max(ticket.domains, len(names))
        for restoration, _ in tiles:
            ticket = next(ticket for ticket in chosen if ticket.restoration is restoration)
            ticket.forward_s += share
            self._turns.took(ticket, share)
        served = set(map(id, chosen))
        rest = [ticket for ticket in active if id(ticket) not in served]
        return rest + self._finish(chosen)

    def _choose(self, active: Sequence[Ticket]) -> tuple[list[Ticket], Tiles]:
        """Pieces of the shape that waited longest, one from each image in turn, up to the budget."""
        first = active[0].restoration
        assert first is not None
        fits = max(1, self._budget // (first.shape.height * first.shape.width))
        same = [
            ticket for ticket in active if ticket.restoration is not None and ticket.restoration.shape == first.shape
        ]
        tiles: list[tuple[Restoration, Piece]] = []
        chosen: list[Ticket] = []
        while len(tiles) < fits:
            before = len(tiles)
            for ticket in same:
                restoration = ticket.restoration
                if restoration is not None and restoration.left and len(tiles) < fits:
                    tiles.append((restoration, restoration.left.popleft()))
                    if ticket not in chosen:
                        chosen.append(ticket)
            if len(tiles) == before:
                break
        return chosen, tiles

    def _alone(self, chosen: Sequence[Ticket]) -> None:
        for ticket in chosen:
            try:
                assert ticket.restoration is not None
                image_CHW, whole = to_tensor([ticket.image], self._device)[0], ticket.restoration.whole
                ticket.restoration = restoration = self._restoration(ticket, image_CHW, whole)
                while restoration.left:
                    with self._precision():
                        forward_tiles(self._model, [(restoration, restoration.left.popleft())])
                ticket.steps, ticket.batch, ticket.domains = ticket.steps + 1, 1, 1
            except Exception as error:
                ticket.fail(error)

    def _finish(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Hand over the images that are done; those that are not, and have not failed."""
        groups: dict[object, list[tuple[Ticket, Restoration]]] = {}
        left = []
        for ticket in tickets:
            if ticket.restoration is not None and ticket.restoration.done:
                groups.setdefault((ticket.image.shape, ticket.bits16), []).append((ticket, ticket.restoration))
            elif ticket.restoration is not None:
                left.append(ticket)
        for group in groups.values():
            self._hand_over(group)
        return left

    def _hand_over(self, group: Sequence[tuple[Ticket, Restoration]]) -> None:
        """Answer for images of one shape: one copy from the device for all of them."""
        try:
            with torch.inference_mode():
                parts = [restoration.result()[None] for _, restoration in group]
                result_BCHW = torch.cat(parts) if len(parts) > 1 else parts[0]
                finite = torch.isfinite(result_BCHW).flatten(1).all(1).tolist()
                images = to_array16(result_BCHW) if group[0][0].bits16 else to_array(result_BCHW)
        except Exception as error:
            for ticket, _ in group:
                ticket.fail(error)
            return
        for (ticket, _), image, usable in zip(group, images, finite, strict=True):
            if not usable:
                ticket.fail(EngineError(_NOT_FINITE))
            else:
                self._answer(ticket, image)

    def _answer(self, ticket: Ticket, image: npt.NDArray[Any]) -> None:
        waited = ticket.started - ticket.entered
        done = Done(image, waited, ticket.forward_s, ticket.steps, ticket.batch, ticket.domains, ticket.seen)
        pace = ticket.forward_s / ticket.pixels
        self.pixel_s = pace if not self.pixel_s else self.pixel_s + _PACE * (pace - self.pixel_s)
        ticket.finish(done)

    def _precision(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()
