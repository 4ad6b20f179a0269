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
from udair_platform.serving.model.ticket import DeadlinePassed, Done, EngineError, Overloaded, Prepare, Work
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
        self._arrivals: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
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
        deep: bool = False,
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
        self._arrivals.put(Work(image, row, name, future, loop, now + timeout_s, prepare, look, deep, now))
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
        outside: list[Work] = []
        active: list[Work] = []
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
            active = [work for work in active if not self._gone(work)]
            entering: list[Work] = []
            for work in list(outside):
                if self._may_enter(work, [*active, *entering]):
                    outside.remove(work)
                    entering.append(work)
            for group in self._groups(entering):
                active += self._begin(group)
            if active:
                active = self._step(active)

    def _may_enter(self, work: Work, active: Sequence[Work]) -> bool:
        small = 4 * self._tile**2
        if not active or work.pixels <= small or self._gone(work):
            return True
        return work.pixels + sum(other.pixels for other in active if other.pixels > small) <= self._max_open

    def _groups(self, entering: Sequence[Work]) -> list[list[Work]]:
        """Images whose codes are read at once."""
        groups: dict[object, list[Work]] = {}
        for work in entering:
            alone = not self._embed_together or work.prepare is not None
            groups.setdefault(id(work) if alone else work.image.shape, []).append(work)
        return list(groups.values())

    def _begin(self, group: Sequence[Work]) -> list[Work]:
        """Read the codes of images of one shape; those that have not failed."""
        group = [work for work in group if self._looked(work)]
        if not group:
            return []
        began = time.monotonic()
        try:
            with torch.inference_mode():
                image_BCHW = to_tensor([work.image for work in group], self._device)
            for work in group:
                if work.prepare is not None:
                    work.row = work.prepare(image_BCHW[0], work.row)
            with torch.inference_mode(), self._precision():
                seen = self._model.embed(image_BCHW, together(self._model, [work.row for work in group]))
            for work, image_CHW, whole in zip(group, image_BCHW, seen.samples(), strict=True):
                work.restoration = Restoration(image_CHW, whole, work.row, tile=self._tile, overlap=self._overlap)
        except Exception as error:
            failed: Exception | None = error
        else:
            failed = None
        if failed is not None:
            # Nobody pays for another's image: each is tried by itself.
            if len(group) > 1:
                return [begun for work in group for begun in self._begin([work])]
            self._fail(group[0], failed)
            return []
        for work in group:
            work.forward_s += (time.monotonic() - began) / len(group)
        return group

    def _looked(self, work: Work) -> bool:
        """Whether the image may begin; what its caller wants to know of it is seen to."""
        if self._gone(work):
            return False
        work.started = work.started or time.monotonic()
        try:
            if work.look is not None and work.seen is None:
                work.seen = work.look()
        except Exception as error:
            self._fail(work, error)
            return False
        return True

    def _step(self, active: list[Work]) -> list[Work]:
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
        names = {work.name for work in chosen}
        for work in chosen:
            work.steps += 1
            work.batch, work.domains = max(work.batch, len(chosen)), max(work.domains, len(names))
        for restoration, _ in tiles:
            next(work for work in chosen if work.restoration is restoration).forward_s += share
        served = set(map(id, chosen))
        rest = [work for work in active if id(work) not in served]
        return rest + self._finish(chosen)

    def _choose(self, active: Sequence[Work]) -> tuple[list[Work], Tiles]:
        """Tiles of the shape that waited longest, one from each image in turn, up to the budget."""
        first = active[0].restoration
        assert first is not None
        fits = max(1, self._budget // (first.shape[0] * first.shape[1]))
        same = [work for work in active if work.restoration is not None and work.restoration.shape == first.shape]
        tiles: list[tuple[Restoration, tuple[int, int]]] = []
        chosen: list[Work] = []
        while len(tiles) < fits:
            before = len(tiles)
            for work in same:
                restoration = work.restoration
                if restoration is not None and restoration.left and len(tiles) < fits:
                    tiles.append((restoration, restoration.left.popleft()))
                    if work not in chosen:
                        chosen.append(work)
            if len(tiles) == before:
                break
        return chosen, tiles

    def _alone(self, chosen: Sequence[Work]) -> None:
        for work in chosen:
            try:
                work.restoration = restoration = Restoration(
                    to_tensor([work.image], self._device)[0],
                    work.restoration.whole,  # type: ignore[union-attr]
                    work.row,
                    tile=self._tile,
                    overlap=self._overlap,
                )
                while restoration.left:
                    with self._precision():
                        forward_tiles(self._model, [(restoration, restoration.left.popleft())])
                work.steps, work.batch, work.domains = work.steps + 1, 1, 1
            except Exception as error:
                self._fail(work, error)

    def _finish(self, works: Sequence[Work]) -> list[Work]:
        """Hand over the images that are done; those that are not, and have not failed."""
        groups: dict[object, list[tuple[Work, Restoration]]] = {}
        left = []
        for work in works:
            if work.restoration is not None and work.restoration.done:
                groups.setdefault((work.image.shape, work.deep), []).append((work, work.restoration))
            elif work.restoration is not None:
                left.append(work)
        for group in groups.values():
            self._hand_over(group)
        return left

    def _hand_over(self, group: Sequence[tuple[Work, Restoration]]) -> None:
        """Answer for images of one shape: one copy from the device for all of them."""
        try:
            with torch.inference_mode():
                parts = [restoration.result()[None] for _, restoration in group]
                result_BCHW = torch.cat(parts) if len(parts) > 1 else parts[0]
                finite = torch.isfinite(result_BCHW).flatten(1).all(1).tolist()
                images = to_array16(result_BCHW) if group[0][0].deep else to_array(result_BCHW)
        except Exception as error:
            for work, _ in group:
                self._fail(work, error)
            return
        for (work, _), image, usable in zip(group, images, finite, strict=True):
            if not usable:
                self._fail(work, EngineError("the model's answer is not finite."))
                continue
            done = Done(
                image,
                work.started - work.entered,
                work.forward_s,
                work.steps,
                work.batch,
                work.domains,
                work.seen,
            )
            self._tell(work, partial(work.future.set_result, done))

    def _gone(self, work: Work) -> bool:
        """A caller that went away, or whose time is up, needs no pixels."""
        if work.future.done():
            return True
        if time.monotonic() > work.deadline:
            self._fail(work, DeadlinePassed(f"the image was not restored in {work.deadline - work.entered:.0f} s."))
            return True
        return False

    def _fail(self, work: Work, error: Exception) -> None:
        if not isinstance(error, EngineError):
            _log.error("forward_failed", exc_info=error)
            error = EngineError(f"the model failed on this image: {type(error).__name__}: {error}")
        work.restoration = None
        self._tell(work, lambda: work.future.set_exception(error))

    @staticmethod
    def _tell(work: Work, act: Callable[[], None]) -> None:
        def unless_gone() -> None:
            if not work.future.done():
                act()

        try:
            work.loop.call_soon_threadsafe(unless_gone)
        except RuntimeError:  # the loop of the caller has ended, and the caller with it
            return

    def _precision(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()
