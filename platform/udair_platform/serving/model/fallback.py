"""Which version of a domain answers: the one that is routed, or what can be had instead.

An adapter that is damaged, or for another base model, is never used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from udair.models.modulation import Modulation
from udair_platform.errors import InvalidState, Unavailable
from udair_platform.serving.model.adapters import AdapterRefused, Adapters, Unreachable
from udair_platform.serving.routing.table import SOURCE, DomainRoute, RouteTable, Target
from udair_platform.telemetry import logger

_REMEMBERED = 16_384  # domains whose last served version is known
_log = logger("serving")


@dataclass(frozen=True)
class Blocked:
    """A routed version that cannot be loaded, while another answers.

    Attributes:
        version: The one that is wanted.
        serving: The one that answers.
        reason: Why.
        since: Seconds since the epoch.
    """

    version: int
    serving: int
    reason: str
    since: float


class VersionFallback:
    """What each domain is served with on this replica.

    Args:
        adapters: Where rows come from.

    Attributes:
        blocked: Domains whose routed version cannot be loaded here.
    """

    def __init__(self, adapters: Adapters) -> None:
        self.adapters = adapters
        self.blocked: dict[str, Blocked] = {}
        self._served: OrderedDict[str, Target] = OrderedDict()
        self._staging: set[asyncio.Task[None]] = set()
        self._fetchers = ThreadPoolExecutor(4, thread_name_prefix="fetch")

    async def row(self, name: str, route: DomainRoute, wanted: Target) -> tuple[Target, Modulation | None, str]:
        """The version that answers now, its row, and the fallback that this is."""
        if wanted.out_of_use:
            return wanted, None, "source"
        last = self._served.get(name)
        earlier = last if last != wanted else None
        promoted = earlier is not None and wanted == route.champion and not self.adapters.resident(wanted)
        if promoted and earlier is not None and self.adapters.resident(earlier):
            # Nobody waits for a promotion: the version before answers until the new one is here.
            with contextlib.suppress(Unreachable, AdapterRefused):  # evicted in this moment, and not to be had again
                row = await self.adapters.row(earlier)
                self._in_background(self._stage(name, wanted))
                return earlier, row, "previous" if name in self.blocked else "none"
        try:
            row = await self.adapters.row(wanted)
        except (Unreachable, AdapterRefused) as error:
            return await self._instead(name, wanted, earlier, error)
        if wanted == route.champion:
            self._remember(name, wanted)
        self._unblock(name, wanted)
        return wanted, row, "none"

    async def tried(self, wanted: Target) -> tuple[Target, Modulation | None, str]:
        """As `row`, for one picture that is tried: that version or none, and nothing is remembered.

        Raises:
            InvalidState: Its adapter cannot be used.
            Unavailable: The store does not answer.
        """
        if wanted.out_of_use:
            return wanted, None, "source"
        try:
            return wanted, await self.adapters.row(wanted), "none"
        except AdapterRefused as error:
            raise InvalidState(f"Version {wanted.version} cannot be loaded: {error}") from error
        except Unreachable as error:
            raise Unavailable(f"{error} Version {wanted.version} can be tried when the store is back.") from error

    async def _instead(
        self, name: str, wanted: Target, earlier: Target | None, error: Unreachable | AdapterRefused
    ) -> tuple[Target, Modulation | None, str]:
        """What answers although `wanted` cannot."""
        if earlier is not None:
            with contextlib.suppress(Unreachable, AdapterRefused):
                row = await self.adapters.row(earlier)
                self._block(name, wanted, earlier, str(error))
                return earlier, row, "previous"
        if isinstance(error, Unreachable):
            raise Unavailable(f"{error} The domain is cold here; it is served when the store is back.") from error
        self._block(name, wanted, SOURCE, str(error))
        return SOURCE, None, "source"

    async def _stage(self, name: str, wanted: Target) -> None:
        """Load a version beside the one that serves; the next request finds it."""
        try:
            await self.adapters.row(wanted)
        except (Unreachable, AdapterRefused) as error:
            self._block(name, wanted, self._served.get(name, SOURCE), str(error))
            return
        self._unblock(name, wanted)

    def _block(self, name: str, wanted: Target, serving: Target, reason: str) -> None:
        known = self.blocked.get(name)
        if known is None or known.version != wanted.version:
            self.blocked[name] = Blocked(wanted.version, serving.version, reason, time.time())
            _log.error("route_blocked", domain=name, version=wanted.version, serving=serving.version, reason=reason)

    def _unblock(self, name: str, wanted: Target) -> None:
        known = self.blocked.get(name)
        if known is not None and known.version == wanted.version:
            self.blocked.pop(name, None)
            _log.info("route_unblocked", domain=name, version=wanted.version)

    def _remember(self, name: str, target: Target) -> None:
        self._served[name] = target
        self._served.move_to_end(name)
        while len(self._served) > _REMEMBERED:
            forgotten, _ = self._served.popitem(last=False)
            self.blocked.pop(forgotten, None)

    def routes_changed(self, table: RouteTable) -> list[Future[None]]:
        """Fetch at once what was promoted of the domains that are served here."""
        fetching = []
        for name, route in table.routes.items():
            if name in self.blocked and self.blocked[name].version not in {t.version for t in route.targets}:
                self.blocked.pop(name, None)  # nobody wants that version any more
            active = name in self._served and self._served[name] != route.champion
            if active and not route.held and not self.adapters.resident(route.champion):
                fetching.append(self._fetchers.submit(self.load_ahead, name, route, route.champion))
        return fetching

    def load_ahead(self, name: str, route: DomainRoute, wanted: Target) -> None:
        """Make a version resident in this thread, before it is asked for; that it cannot be had is noted."""
        try:
            if not self.adapters.resident(wanted):
                self.adapters.load(wanted)
        except (Unreachable, AdapterRefused) as error:
            self._block(name, wanted, self._served.get(name, SOURCE), str(error))
        else:
            self._unblock(name, wanted)
            if route.held and wanted == route.champion:
                self._remember(name, wanted)  # it answers while its successor is on the way

    def close(self) -> None:
        """Fetch nothing more."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._staging.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._staging.discard)
