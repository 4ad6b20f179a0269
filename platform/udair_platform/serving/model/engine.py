"""Continuous batching of pieces: one thread runs the model, and images join and leave it between two steps.

A small image is one piece, a large one a handful (`udair.inference`: pieces give the pixels of the whole). Every step
takes pieces of one shape from as many images as the pixel budget holds, one from each in turn: a small image is done
after one step, whatever large image came before it, and nobody waits for a batch to fill. Tenants take turns, too: who
sends a thousand images waits for them, and the others for a step; on CPUs, where a step is long, for a block of it.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from udair.config import Tone
from udair.data.images import ImageArray
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer
from udair.tiling import ENDPOINT_PIECE_BYTES
from udair_platform.serving.model.forward import Forward
from udair_platform.serving.model.ticket import Done, Overloaded, Prepare, Ticket
from udair_platform.serving.model.turns import Turns

SMALL_PIXELS = 2**19  # images that enter whatever large one is on its way
_BEGUN_STEPS = 4  # small images beyond what so many steps hold wait outside: whoever comes is looked at before them


class Engine:
    """Runs a model over the images that are submitted, in one thread of its own.

    Args:
        model: In evaluation mode.
        budget_pixels: Pixels of one step; at least one piece is always taken.
        piece_bytes: Working memory of one piece: how long a step lasts (`udair.tiling.plan`).
        autocast: Run the model in bfloat16; for GPUs.
        at_once: Small images of one shape go through the model together, in one pass over all that it does: for GPUs,
            where launches cost more than pixels. A code may then differ where two are equally near.
        max_waiting: More images than this are refused at once, and more than half of it of one tenant.
        max_open_pixels: Large images beyond this wait outside: one on its way takes 60 bytes a pixel.
    """

    def __init__(
        self,
        model: Restorer,
        budget_pixels: int,
        *,
        piece_bytes: int = ENDPOINT_PIECE_BYTES,
        autocast: bool = False,
        at_once: bool = False,
        max_waiting: int = 1024,
        max_open_pixels: int = 2**24,
    ) -> None:
        self._turns = Turns()
        self._forward = Forward(
            model, budget_pixels, self._turns, piece_bytes=piece_bytes, autocast=autocast, at_once=at_once
        )
        self._begun_pixels = _BEGUN_STEPS * budget_pixels
        self._max_waiting, self._max_open = max_waiting, max_open_pixels
        self._arrivals: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._outside: list[Ticket] = []
        self._active: list[Ticket] = []
        self._closing = False
        self._waiting = 0
        self._waiting_of: Counter[str] = Counter()
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
        tenant: str = "",
        name: str | None = None,
        timeout_s: float = 60.0,
        prepare: Prepare | None = None,
        embed: Callable[[], Any] | None = None,
        bits16: bool = False,
        tone: Tone = "keep",
        low: bool = False,
    ) -> Done:
        """Restore one image.

        Args:
            image: (H, W, 3) uint8.
            row: Its adapter's row; None is the source model.
            tenant: Whose image it is: tenants share the model.
            name: Of the adapter, to count how many a step mixes.
            timeout_s: After that long it is given up.
            prepare: Makes another row for this one image, in the forward thread.
            embed: Called in the forward thread, too; its result comes with the answer.
            bits16: Answer with 16 bits a channel.
            tone: What may change; the one that `row` was made for.
            low: Of low priority: what it takes of the model counts eightfold when turns are given.

        Raises:
            EngineError: The model failed on it.
            Overloaded: Too many images wait already, of all or of this tenant.
            DeadlinePassed: `timeout_s` was not enough.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        pixels = image.shape[0] * image.shape[1]
        with self._count:
            self._admit(tenant)
            self._waiting += 1
            self._waiting_of[tenant] += 1
            self._pixels += pixels
        future: asyncio.Future[Done] = loop.create_future()
        self._arrivals.put(
            Ticket(image, row, name, future, loop, now + timeout_s, prepare, embed, bits16, tone, now, tenant, low)
        )
        try:
            return await future
        finally:
            with self._count:
                self._waiting -= 1
                self._waiting_of -= Counter((tenant,))  # who has none is forgotten
                self._pixels -= pixels

    def _admit(self, tenant: str) -> None:
        mine, most = self._waiting_of[tenant], max(1, self._max_waiting // 2)
        if self._waiting >= self._max_waiting:
            count, whose = self._waiting, f"expected fewer than {self._max_waiting}"
        elif tenant and mine >= most:
            count, whose = mine, f"of this tenant; expected fewer than {most}"
        else:
            return
        wait_s = self._forward.pixel_s * self._pixels / 2
        raise Overloaded(f"{count} images wait already {whose}.", max(1, math.ceil(wait_s)))

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._arrivals.put(None)
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing or self._active or self._outside:
            self._receive(wait=not (self._active or self._outside))
            self._active, self._outside = (
                [ticket for ticket in some if not ticket.gone()] for some in (self._active, self._outside)
            )
            self._turns.waiting([*self._active, *self._outside])
            entering: list[Ticket] = []
            for ticket in self._turns.order(self._outside):
                if self._may_enter(ticket, [*self._active, *entering]):
                    self._outside.remove(ticket)
                    entering.append(ticket)
            self._active += self._forward.begin(entering)
            if self._active:
                self._active = self._forward.step(self._active, self._let_before)
        self._forward.close()

    def _receive(self, *, wait: bool = False) -> None:
        """Take in what has arrived."""
        while True:
            try:
                arrived = self._arrivals.get(block=wait and not (self._outside or self._closing))
            except queue.Empty:
                return
            if arrived is None:
                self._closing = True
            else:
                self._outside.append(arrived)

    def _let_before(self, running: Sequence[Ticket], seconds: float) -> bool:
        """Run a small image of a tenant who has none under way, if those whose step it is keep more waiting than that.

        Who sends one image at a time is not interrupted: among those, whoever came first is done first.
        """
        self._receive()
        under_way = Counter(ticket.party for ticket in self._active)
        waiting = under_way + Counter(ticket.party for ticket in self._outside)
        waiting.subtract(ticket.party for ticket in running)
        if not all(waiting[ticket.party] for ticket in running):
            return False
        for ticket in self._outside:
            quick = ticket.pixels <= SMALL_PIXELS and ticket.prepare is None
            if ticket.low or not quick or ticket.party in under_way:
                continue
            self._turns.joins(ticket)
            if self._turns.goes_before(ticket, running, seconds):
                self._outside.remove(ticket)
                ahead = self._forward.begin([ticket])
                while ahead:
                    ahead = self._forward.step(ahead)
                return True
        return False

    def _may_enter(self, ticket: Ticket, active: Sequence[Ticket]) -> bool:
        if ticket.pixels <= SMALL_PIXELS:  # it is done before those that are larger
            before = sum(other.pixels for other in active if other.pixels <= ticket.pixels)
            return not before or ticket.pixels + before <= self._begun_pixels
        large = sum(other.pixels for other in active if other.pixels > SMALL_PIXELS)
        return not active or ticket.pixels + large <= self._max_open
