"""One image on its way through the engine: what is asked, how far it is, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch

from udair.data.images import ImageArray
from udair.inference import Restoration
from udair.models.modulation import Modulation

# From one image and its row to the row that restores it: test-time adaptation.
Prepare = Callable[[torch.Tensor, Modulation | None], Modulation | None]


class EngineError(Exception):
    """One image could not be restored; the others of its batch were."""


class Overloaded(EngineError):
    """Too many images wait already."""


class DeadlinePassed(EngineError):
    """The image waited, or was worked on, for longer than its caller allowed."""


@dataclass(frozen=True)
class Done:
    """One restored image and what it cost.

    Attributes:
        image: (H, W, 3) uint8, or uint16 where that was asked for.
        queue_s: Seconds until its first step began.
        forward_s: Seconds of model time that are its own: its share of pixels of every step.
        steps: Steps that held one of its tiles.
        batch: Most images that shared a step with it, itself included.
        domains: Most different adapters in one of its steps.
        look: What `look` returned.
    """

    image: npt.NDArray[Any]
    queue_s: float
    forward_s: float
    steps: int
    batch: int
    domains: int
    look: Any = None


@dataclass(eq=False)
class Ticket:
    """One image that is to be restored, and how far it is; see `Engine.submit`."""

    image: ImageArray
    row: Modulation | None
    name: str | None
    future: asyncio.Future[Done]
    loop: asyncio.AbstractEventLoop
    deadline: float
    prepare: Prepare | None
    look: Callable[[], Any] | None
    bits16: bool
    entered: float
    started: float = 0.0
    forward_s: float = 0.0
    steps: int = 0
    batch: int = 0
    domains: int = 0
    restoration: Restoration | None = field(default=None, repr=False)
    seen: Any = None

    @property
    def pixels(self) -> int:
        """Of the image."""
        return int(self.image.shape[0] * self.image.shape[1])
