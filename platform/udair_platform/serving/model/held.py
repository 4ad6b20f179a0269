"""Adapters that this replica has before it is asked for them: loaded at once, and never evicted for others' sake.

Pinned domains are held by every replica. One with `min_ready` is held by the first so many of the order in which its
requests go, and by one more, in waiting: a replica that goes, whichever, leaves nobody without, because its successor
has had the adapter since before. Where a request may come to any replica, every replica holds it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from udair_platform.serving.model.fallback import VersionFallback
from udair_platform.serving.routing.order import holders
from udair_platform.serving.routing.table import DomainRoute, RouteTable, Target
from udair_platform.telemetry import logger

_AGAIN_S = 5.0
_log = logger("serving")


class HeldAdapters:
    """What shall be held here, and what is.

    Args:
        replica: Id of this replica.
        versions: Loads adapters, into a bank that keeps what is pinned.
    """

    def __init__(self, replica: str, versions: VersionFallback) -> None:
        self._replica, self._versions = replica, versions
        self._bank = versions.adapters.bank
        self._table: RouteTable | None = None
        self._members: frozenset[str] | None = None
        self._unheld: dict[str, str] = {}
        self._names: frozenset[str] = frozenset()
        self._changed, self._stop, self._at_work = threading.Event(), threading.Event(), threading.Lock()
        self._fetchers = ThreadPoolExecutor(4, thread_name_prefix="hold")

    def routes_changed(self, table: RouteTable) -> None:
        """There are new routes: called by the router's thread."""
        self._versions.routes_changed(table)
        self._table = table
        self._changed.set()

    def members_changed(self, members: frozenset[str]) -> None:
        """There are other replicas; until this is called, requests are thought to come here whosever they are."""
        self._members = members
        self._changed.set()

    def watch(self) -> None:
        """Follow the changes in a thread from now on; what could not be had is tried again."""
        threading.Thread(target=self._run, name="held", daemon=True).start()

    def hold(self, timeout_s: float | None = None) -> bool:
        """Pin what shall be held and load what of it is not here; whether all of it is then."""
        with self._at_work:
            self._changed.clear()
            chosen = self._choose()
            rows = frozenset(target.row_name for *_, target in chosen if target.row_name)
            # What served before stays until what serves now is here.
            self._bank.pinned |= rows
            loads = [self._fetchers.submit(self._versions.load_ahead, *one) for one in chosen]
            done = wait(loads, timeout=timeout_s)
            self._bank.pinned = rows
            return not done.not_done and all(self._versions.adapters.resident(target) for *_, target in chosen)

    def of(self, name: str) -> dict[str, Any]:
        """What is held of one domain, for reports: the version that serves, if its adapter is here, and why it is not."""
        route = self._table.routes.get(name) if self._table else None
        champion = route.champion if route else Target(0)
        here = champion.row_name is not None and self._versions.adapters.resident(champion)
        return {"held": champion.version if here else None, "unheld": self._unheld.get(name, "")}

    def report(self, seen: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The same of the domains that shall be held, and of those that were `seen`."""
        return {name: self.of(name) for name in self._names.union(seen)}

    def close(self) -> None:
        """Load nothing more."""
        self._stop.set()
        self._changed.set()
        self._fetchers.shutdown(wait=False, cancel_futures=True)

    def _choose(self) -> list[tuple[str, DomainRoute, Target]]:
        """What there is room for: of every domain the version that serves first, and always the same ones."""
        routes = self._table.routes if self._table else {}
        wanted = [
            (number, place, name, target)
            for name, route in routes.items()
            if route.held and (place := self._place(name, route)) is not None
            for number, target in enumerate(route.answering)
            if target.row_name
        ]
        everything = {target.row_name for *_, target in wanted}
        slots, room = self._bank.slots, self._bank.slots - 1  # one is left for all the others
        rows: set[str | None] = set()
        chosen, unheld = [], {}
        for _, _, name, target in sorted(wanted, key=lambda one: one[:3]):
            if target.row_name in rows or len(rows) < room:
                rows.add(target.row_name)
                chosen.append((name, routes[name], target))
            else:
                unheld[name] = (
                    f"{len(everything)} adapters shall be held in {slots} slots, which hold {room}; "
                    "raise UDAIR_SERVE_SLOTS, or lower min_ready"
                )
        if unheld and unheld != self._unheld:
            _log.warning("adapters_unheld", adapters=len(everything), slots=slots, domains=sorted(unheld)[:10])
        self._unheld, self._names = unheld, frozenset(name for _, _, name, _ in wanted)
        return chosen

    def _place(self, name: str, route: DomainRoute) -> int | None:
        """This replica's among those that shall hold a domain; None if it is none of them."""
        members = self._members
        if route.pinned or members is None:
            return 0
        those = holders(name, members | {self._replica}, route.min_ready)
        return those.index(self._replica) if self._replica in those else None

    def _run(self) -> None:
        complete = True
        while True:
            self._changed.wait(None if complete else _AGAIN_S)
            if self._stop.is_set():
                return
            try:
                complete = self.hold()
            except Exception as error:  # what is held must not end with one thing that is not
                complete = False
                if not self._stop.is_set():
                    _log.error("hold_failed", exc_info=error)
