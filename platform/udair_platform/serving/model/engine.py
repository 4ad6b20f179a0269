"""Continuous batching of tiles: one thread runs the model, and images join and leave it between two steps.

An image is a handful of tiles. Every step takes tiles of one shape from as many images as the pixel
budget holds, one from each in turn: a small image is done after one step, whatever large image came
before it, and nobody waits for a batch to fill. Tiles of different domains share a step, because an
adapter is a row of the batch. Codes are read once per image; alone on a CPU, so that the pixels do
not depend on who else is in the batch.

Axes: C channels, H x W pixels.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from udair.data.images import ImageArray
from udair.data.patches import to_array, to_array16, to_tensor
from udair.inference import OVERLAP, TILE, Restoration, Tiles, forward_tiles, together
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer
from udair_platform.serving.model.ticket import DeadlinePassed, Done, EngineError, Overloaded, Prepare, Ticket
from udair_platform.telemetry import logger

_log = logger("serving")


class Engine:
    """Runs a model over the images that are submitted, in one thread of its own.

    Args:
        model: In evaluation mode.
        budget_pixels: Pixels of one step; at least one tile is always taken.
        tile, overlap: See `udair.inference.Restoration`.
        autocast: Run the model in bfloat16; for GPUs.
        embed_together: Read the codes of images of one shape at once: for GPUs, where launches cost more
            than pixels. A code may then differ where two are equally near.
        max_waiting: More images than this are refused at once.
        max_open_pixels: Large images beyond this wait outside: one on its way takes 28 bytes a pixel.
    """

    def __init__(
        self,
        model: Restorer,
        budget_pixels: int,
        *,
        tile: int = TILE,
        overlap: int = OVERLAP,
        autocast: bool = False,
        embed_together: bool = False,
        max_waiting: int = 1024,
        max_open_pixels: int = 2**24,
    ) -> None:
        self._model, self._budget, self._tile, self._overlap = model, budget_pixels, tile, overlap
        self._device = model.enter.weight.device
        self._embed_together = embed_together
        self._autocast, self._max_waiting, self._max_open = autocast, max_waiting, max_open_pixels
        self._arrivals: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._waiting = 0
        self._pixels = 0
        self._count = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="forward", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images that were submitted and are not done."""
        return self._waiting

    @property
    def waiting_pixels(self) -> int:
        """Their pixels: what an autoscaler should look at."""
        return self._pixels

    async def submit(
        self,
        image: ImageArray,
        row: Modulation | None,
        *,
        name: str | None = None,
        timeout_s: float = 60.0,
        prepare: Prepare | None = None,
        look: Callable[[], Any] | None = None,
        bits16: bool = False,
    ) -> Done:
        """Restore one image.

        Args:
            image: (H, W, 3) uint8.
            row: Its adapter's row; None is the source model.
            name: Of the adapter, to count how many a step mixes.
            timeout_s: After that long it is given up.
            prepare: Makes another row for this one image, in the forward thread.
            look: Called in the forward thread, too; its result comes with the answer.
            deep: Answer with 16 bits a channel.

        Raises:
            EngineError: The model failed on it.
            Overloaded: Too many images wait already.
            DeadlinePassed: `timeout_s` was not enough.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        pixels = image.shape[0] * image.shape[1]
        with self._count:
            if self._waiting >= self._max_waiting:
                raise Overloaded(f"{self._waiting} images wait already; expected fewer than {self._max_waiting}.")
            self._waiting += 1
            self._pixels += pixels
        future: asyncio.Future[Done] = loop.create_future()
        self._arrivals.put(Ticket(image, row, name, future, loop, now + timeout_s, prepare, look, bits16, now))
        try:
            return await future
        finally:
            with self._count:
                self._waiting -= 1
                self._pixels -= pixels

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._arrivals.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        outside: list[Ticket] = []
        active: list[Ticket] = []
        closing = False
        while not closing or active or outside:
            while True:
                try:
                    arrived = self._arrivals.get(block=not (active or outside or closing))
                except queue.Empty:
                    break
                if arrived is None:
                    closing = True
                else:
                    outside.append(arrived)
            active = [ticket for ticket in active if not self._gone(ticket)]
            entering: list[Ticket] = []
            for ticket in list(outside):
                if self._may_enter(ticket, [*active, *entering]):
                    outside.remove(ticket)
                    entering.append(ticket)
            for group in self._groups(entering):
                active += self._begin(group)
            if active:
                active = self._step(active)

    def _may_enter(self, ticket: Ticket, active: Sequence[Ticket]) -> bool:
        small = 4 * self._tile**2
        if not active or ticket.pixels <= small or self._gone(ticket):
            return True
        return ticket.pixels + sum(other.pixels for other in active if other.pixels > small) <= self._max_open

    def _groups(self, entering: Sequence[Ticket]) -> list[list[Ticket]]:
        """Images whose codes are read at once."""
        groups: dict[object, list[Ticket]] = {}
        for ticket in entering:
            alone = not self._embed_together or ticket.prepare is not None
            groups.setdefault(id(ticket) if alone else ticket.image.shape, []).append(ticket)
        return list(groups.values())

    def _begin(self, group: Sequence[Ticket]) -> list[Ticket]:
        """Read the codes of images of one shape; those that have not failed."""
        group = [ticket for ticket in group if self._looked(ticket)]
        if not group:
            return []
        began = time.monotonic()
        try:
            with torch.inference_mode():
                image_BCHW = to_tensor([ticket.image for ticket in group], self._device)
            for ticket in group:
                if ticket.prepare is not None:
                    ticket.row = ticket.prepare(image_BCHW[0], ticket.row)
            with torch.inference_mode(), self._precision():
                seen = self._model.embed(image_BCHW, together(self._model, [ticket.row for ticket in group]))
            for ticket, image_CHW, whole in zip(group, image_BCHW, seen.samples(), strict=True):
                ticket.restoration = Restoration(image_CHW, whole, ticket.row, tile=self._tile, overlap=self._overlap)
        except Exception as error:
            failed: Exception | None = error
        else:
            failed = None
        if failed is not None:
            # Nobody pays for another's image: each is tried by itself.
            if len(group) > 1:
                return [begun for ticket in group for begun in self._begin([ticket])]
            self._fail(group[0], failed)
            return []
        for ticket in group:
            ticket.forward_s += (time.monotonic() - began) / len(group)
        return group

    def _looked(self, ticket: Ticket) -> bool:
        """Whether the image may begin; what its caller wants to know of it is seen to."""
        if self._gone(ticket):
            return False
        ticket.started = ticket.started or time.monotonic()
        try:
            if ticket.look is not None and ticket.seen is None:
                ticket.seen = ticket.look()
        except Exception as error:
            self._fail(ticket, error)
            return False
        return True

    def _step(self, active: list[Ticket]) -> list[Ticket]:
        """Run one batch; the images that are not done, those that were served last at the end."""
        chosen, tiles = self._choose(active)
        began = time.monotonic()
        try:
            with self._precision():
                forward_tiles(self._model, tiles)
            if self._device.type == "cuda":
                torch.cuda.synchronize()
        except Exception as error:
            # Nobody pays for another's image: each is tried by itself.
            if len(chosen) == 1:
                self._fail(chosen[0], error)
            else:
                _log.warning("batch_failed", images=len(chosen), error=f"{type(error).__name__}: {error}")
                self._alone(chosen)
            return self._finish(active)
        share = (time.monotonic() - began) / len(tiles)
        names = {ticket.name for ticket in chosen}
        for ticket in chosen:
            ticket.steps += 1
            ticket.batch, ticket.domains = max(ticket.batch, len(chosen)), max(ticket.domains, len(names))
        for restoration, _ in tiles:
            next(ticket for ticket in chosen if ticket.restoration is restoration).forward_s += share
        served = set(map(id, chosen))
        rest = [ticket for ticket in active if id(ticket) not in served]
        return rest + self._finish(chosen)

    def _choose(self, active: Sequence[Ticket]) -> tuple[list[Ticket], Tiles]:
        """Tiles of the shape that waited longest, one from each image in turn, up to the budget."""
        first = active[0].restoration
        assert first is not None
        fits = max(1, self._budget // (first.shape[0] * first.shape[1]))
        same = [
            ticket for ticket in active if ticket.restoration is not None and ticket.restoration.shape == first.shape
        ]
        tiles: list[tuple[Restoration, tuple[int, int]]] = []
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
                ticket.restoration = restoration = Restoration(
                    to_tensor([ticket.image], self._device)[0],
                    ticket.restoration.whole,  # type: ignore[union-attr]
                    ticket.row,
                    tile=self._tile,
                    overlap=self._overlap,
                )
                while restoration.left:
                    with self._precision():
                        forward_tiles(self._model, [(restoration, restoration.left.popleft())])
                ticket.steps, ticket.batch, ticket.domains = ticket.steps + 1, 1, 1
            except Exception as error:
                self._fail(ticket, error)

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
                self._fail(ticket, error)
            return
        for (ticket, _), image, usable in zip(group, images, finite, strict=True):
            if not usable:
                self._fail(ticket, EngineError("the model's answer is not finite."))
                continue
            done = Done(
                image,
                ticket.started - ticket.entered,
                ticket.forward_s,
                ticket.steps,
                ticket.batch,
                ticket.domains,
                ticket.seen,
            )
            self._tell(ticket, partial(ticket.future.set_result, done))

    def _gone(self, ticket: Ticket) -> bool:
        """A caller that went away, or whose time is up, needs no pixels."""
        if ticket.future.done():
            return True
        if time.monotonic() > ticket.deadline:
            self._fail(
                ticket, DeadlinePassed(f"the image was not restored in {ticket.deadline - ticket.entered:.0f} s.")
            )
            return True
        return False

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        if not isinstance(error, EngineError):
            _log.error("forward_failed", exc_info=error)
            error = EngineError(f"the model failed on this image: {type(error).__name__}: {error}")
        ticket.restoration = None
        self._tell(ticket, lambda: ticket.future.set_exception(error))

    @staticmethod
    def _tell(ticket: Ticket, act: Callable[[], None]) -> None:
        def unless_gone() -> None:
            if not ticket.future.done():
                act()

        try:
            ticket.loop.call_soon_threadsafe(unless_gone)
        except RuntimeError:  # the loop of the caller has ended, and the caller with it
            return

    def _precision(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()
