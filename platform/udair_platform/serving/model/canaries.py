"""Canaries that are compared with their champions: pictures of both are looked at once they are answered."""

from __future__ import annotations

import asyncio

from udair.config import Tone
from udair.data.images import ImageArray
from udair_platform.serving.observation.residuals import Residuals, measure
from udair_platform.serving.routing.table import DomainRoute

_AT_ONCE = 2  # pictures that are looked at; others go by


class Canaries:
    """Looks at restored pictures beside the event loop; no answer waits for it."""

    def __init__(self, residuals: Residuals) -> None:
        self._residuals = residuals
        self._tasks: set[asyncio.Task[None]] = set()

    def look(
        self, name: str, route: DomainRoute, version: int, tone: Tone, came: ImageArray, restored: ImageArray
    ) -> None:
        """Look at an answer of the domain's champion or canary, where its route wants them compared."""
        if route.canary is None or not route.canary.judged:
            self._residuals.end(name)
            return
        pair = (route.champion.version, route.canary.target.version)
        if len(self._tasks) < _AT_ONCE and self._residuals.wants(name, pair, version):
            task = asyncio.create_task(self._measure(name, pair, version, tone, came, restored))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    async def _measure(
        self, name: str, pair: tuple[int, int], version: int, tone: Tone, came: ImageArray, restored: ImageArray
    ) -> None:
        figures = await asyncio.to_thread(measure, came, restored, light_kept=tone == "keep")
        self._residuals.add(name, pair, version, figures)
