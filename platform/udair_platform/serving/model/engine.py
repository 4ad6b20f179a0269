"""Continuous batching of pieces: one thread runs the model, and images join and leave it between two steps.

A small image is one piece, a large one a handful (`udair.inference`: pieces give the pixels of the whole). Every step
takes pieces of one shape from as many images as the pixel budget holds, one from each in turn: a small image is done
after one step, whatever large image came before it, and nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from udair.config import Tone
from udair.data.images import ImageArray
from udair.inference import ENDPOINT_PIECE_BYTES
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer
from udair_platform.serving.model.forward import Forward
from udair_platform.serving.model.ticket import Done, Overloaded, Prepare, Ticket

SMALL_PIXELS = 2**19  # images that enter whatever else is on its way


class Engine:
    """Runs a model over the images that are submitted, in one thread of its own.

    Args:
        model: In evaluation mode.
        budget_pixels: Pixels of one step; at least one piece is always taken.
        piece_bytes: Working memory of one piece: how long a step lasts (`udair.inference.plan`).
        autocast: Run the model in bfloat16; for GPUs.
        embed_together: Read the codes of images of one shape at once: for GPUs, where launches cost more
            than pixels. A code may then differ where two are equally near.
        max_waiting: More images than this are refused at once.
        max_open_pixels: Large images beyond this wait outside: one on its way takes 60 bytes a pixel.
    """

    def __init__(
        self,
        model: Restorer,
        budget_pixels: int,
        *,
        piece_bytes: int = ENDPOINT_PIECE_BYTES,
        autocast: bool = False,
        embed_together: bool = False,
        max_waiting: int = 1024,
        max_open_pixels: int = 2**24,
    ) -> None:
        self._forward = Forward(model, budget_pixels, piece_bytes=piece_bytes, autocast=autocast)
        self._embed_together = embed_together
        self._max_waiting, self._max_open = max_waiting, max_open_pixels
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
        embed: Callable[[], Any] | None = None,
        bits16: bool = False,
        tone: Tone = "keep",
    ) -> Done:
        """Restore one image.

        Args:
            image: (H, W, 3) uint8.
            row: Its adapter's row; None is the source model.
            name: Of the adapter, to count how many a step mixes.
            timeout_s: After that long it is given up.
            prepare: Makes another row for this one image, in the forward thread.
            embed: Called in the forward thread, too; its result comes with the answer.
            bits16: Answer with 16 bits a channel.
            tone: What may change; the one that `row` was made for.

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
        self._arrivals.put(Ticket(image, row, name, future, loop, now + timeout_s, prepare, embed, bits16, tone, now))
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
            active = [ticket for ticket in active if not ticket.gone()]
            entering: list[Ticket] = []
            for ticket in list(outside):
                if self._may_enter(ticket, [*active, *entering]):
                    outside.remove(ticket)
                    entering.append(ticket)
            for group in self._groups(entering):
                active += self._forward.begin(group)
            if active:
                active = self._forward.step(active)

    def _may_enter(self, ticket: Ticket, active: Sequence[Ticket]) -> bool:
        if not active or ticket.pixels <= SMALL_PIXELS or ticket.gone():
            return True
        return ticket.pixels + sum(other.pixels for other in active if other.pixels > SMALL_PIXELS) <= self._max_open

    def _groups(self, entering: Sequence[Ticket]) -> list[list[Ticket]]:
        """Images whose codes are read at once."""
        groups: dict[object, list[Ticket]] = {}
        for ticket in entering:
            alone = not self._embed_together or ticket.prepare is not None
            groups.setdefault(id(ticket) if alone else ticket.image.shape, []).append(ticket)
        return list(groups.values())
