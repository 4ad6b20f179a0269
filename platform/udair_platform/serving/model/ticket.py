"""One image on its way through the engine: what is asked, how far it is, how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch

from udair.config import Tone
from udair.data.images import ImageArray
from udair.inference import Restoration
from udair.models.modulation import Modulation
from udair_platform.telemetry import logger

_log = logger("serving")

# From one image and its row to the row that restores it: test-time adaptation.
Prepare = Callable[[torch.Tensor, Modulation | None], Modulation | None]


class EngineError(Exception):
    """One image could not be restored; the others of its batch were."""


class Overloaded(EngineError):
    """Too many images wait already.

    Attributes:
        retry_after_s: Seconds in which half of them will be done, as fast as the last ones were.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
        embeddings: What `embed` returned.
    """

    image: npt.NDArray[Any]
    queue_s: float
    forward_s: float
    steps: int
    batch: int
    domains: int
    embeddings: Any = None


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
    embed: Callable[[], Any] | None
    bits16: bool
    tone: Tone
    entered: float
    tenant: str = ""
    low: bool = False
    started: float = 0.0
    forward_s: float = 0.0
    steps: int = 0
    batch: int = 0
    domains: int = 0
    restoration: Restoration | None = field(default=None, repr=False)
    seen: Any = None

    @property
    def party(self) -> tuple[str, bool]:
        """Who takes turns: a tenant, and apart from it the tenant's images of low priority."""
        return self.tenant, self.low

    @property
    def pixels(self) -> int:
        """Of the image."""
        return int(self.image.shape[0] * self.image.shape[1])

    def gone(self) -> bool:
        """Whether nobody needs its pixels: the caller went away, or its time is up, of which it is told."""
        if self.future.done():
            return True
        if time.monotonic() > self.deadline:
            self.fail(DeadlinePassed(f"the image was not restored in {self.deadline - self.entered:.0f} s."))
            return True
        return False

    def finish(self, done: Done) -> None:
        """Answer the caller, from any thread."""
        self._tell(lambda: self.future.set_result(done))

    def fail(self, error: Exception) -> None:
        """Tell the caller that there is no answer, from any thread."""
        if not isinstance(error, EngineError):
            _log.error("forward_failed", exc_info=error)
            error = EngineError(f"the model failed on this image: {type(error).__name__}: {error}")
        self.restoration = None
        self._tell(lambda: self.future.set_exception(error))

    def _tell(self, act: Callable[[], None]) -> None:
        def unless_gone() -> None:
            if not self.future.done():
                act()

        try:
            self.loop.call_soon_threadsafe(unless_gone)
        except RuntimeError:  # the loop of the caller has ended, and the caller with it
            return
