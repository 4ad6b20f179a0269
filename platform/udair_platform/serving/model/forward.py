"""Passes of the model over tickets: their codes first, then steps of tiles, of as many images as a step holds.

Tiles of different domains share a step, because an adapter is a row of the batch. Codes are read once
per image; alone on a CPU, so that the pixels do not depend on who else is in the batch.

Axes: B images of a batch, C channels, H x W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from udair.data.patches import to_array, to_array16, to_tensor
from udair.inference import Piece, Restoration, Tiles, forward_tiles, together
from udair.models.degradation import Degradation
from udair.models.restorer import Restorer
from udair_platform.serving.model.ticket import Done, EngineError, Ticket
from udair_platform.telemetry import logger

_log = logger("serving")


class Forward:
    """The model as the engine's thread runs it; an image that fails, fails alone. See `Engine` for the arguments."""

    def __init__(self, model: Restorer, budget_pixels: int, *, piece_bytes: int, autocast: bool) -> None:
        self._model, self._budget, self._piece_bytes = model, budget_pixels, piece_bytes
        self._device, self._autocast = model.enter.weight.device, autocast

    def begin(self, group: Sequence[Ticket]) -> list[Ticket]:
        """Read the codes of images of one shape; those that have not failed."""
        group = [ticket for ticket in group if self._embedded(ticket)]
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
                ticket.restoration = self._restoration(ticket, image_CHW, whole)
        except Exception as error:
            failed: Exception | None = error
        else:
            failed = None
        if failed is not None:
            # Nobody pays for another's image: each is tried by itself.
            if len(group) > 1:
                return [begun for ticket in group for begun in self.begin([ticket])]
            group[0].fail(failed)
            return []
        for ticket in group:
            ticket.forward_s += (time.monotonic() - began) / len(group)
        return group

    def _restoration(self, ticket: Ticket, image_CHW: Tensor, whole: Degradation) -> Restoration:
        return Restoration(self._model, image_CHW, whole, ticket.row, tone=ticket.tone, piece_bytes=self._piece_bytes)

    def _embedded(self, ticket: Ticket) -> bool:
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

    def step(self, active: list[Ticket]) -> list[Ticket]:
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
                chosen[0].fail(error)
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
                ticket.fail(EngineError("the model's answer is not finite."))
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
            ticket.finish(done)

    def _precision(self) -> torch.autocast | nullcontext[None]:
        return torch.autocast(self._device.type, torch.bfloat16) if self._autocast else nullcontext()
