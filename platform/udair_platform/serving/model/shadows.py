"""Shadows: a version under trial restores what another has answered, and is compared with it."""

from __future__ import annotations

import asyncio

import numpy as np

from udair.config import Tone
from udair.data.images import ImageArray
from udair_platform.serving.model.adapters import AdapterRefused, Adapters, Unreachable
from udair_platform.serving.model.engine import Engine
from udair_platform.serving.model.ticket import Done, EngineError
from udair_platform.serving.observation.windows import TrafficWindows
from udair_platform.serving.routing.table import Target
from udair_platform.telemetry import logger

_ROOM = 2  # a shadow is skipped when more images than this wait
_log = logger("serving")


class Shadows:
    """Second restorations on their way; nothing of them reaches a caller."""

    def __init__(self, engine: Engine, adapters: Adapters, traffic: TrafficWindows, timeout_s: float) -> None:
        self._engine, self._adapters, self._traffic, self._timeout_s = engine, adapters, traffic, timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, name: str, image: ImageArray, target: Target, answer: Done, tone: Tone) -> None:
        """Restore `image` once more, by the version of `target`, and compare it with `answer`."""
        task = asyncio.create_task(self._compare(name, image, target, answer, tone))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, name: str, image: ImageArray, target: Target, answer: Done, tone: Tone) -> None:
        comparison = self._traffic.shadow(name, target.version)
        if self._engine.waiting > _ROOM:
            comparison.skipped += 1
            return
        try:
            row = await self._adapters.row(target)
            done = await self._engine.submit(
                image, row, name=target.adapter_digest, timeout_s=self._timeout_s, tone=tone
            )
        except (Unreachable, AdapterRefused, EngineError) as error:
            comparison.failed += 1
            _log.warning("shadow_failed", domain=name, version=target.version, error=str(error))
            return
        apart = np.abs(done.image.astype(np.int16) - answer.image.astype(np.int16))
        comparison.add(float(apart.mean()) / 255)
