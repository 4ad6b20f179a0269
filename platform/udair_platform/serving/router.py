"""Which adapter serves which domain: a polled copy of routes.json that outlives the control plane."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from udair_jobs.storage import NotFound, Storage, StorageError
from udair_platform.errors import NotFound as NoSuchDomain
from udair_platform.errors import Unavailable
from udair_platform.registry.layout import ROUTES
from udair_platform.telemetry import logger

_MAX_BYTES = 256 * 2**20
_log = logger("serving")


@dataclass(frozen=True)
class Route:
    """What serves one domain.

    Attributes:
        version: Adapter version; 0 is the source model.
        adapter_digest: SHA-256 of the adapter, None for the source model.
        candidate_uri: Folder of the adapter in the platform's store.
    """

    version: int
    adapter_digest: str | None
    candidate_uri: str | None


@dataclass(frozen=True)
class RouteTable:
    """One generation of routes.json, parsed.

    Attributes:
        generation: Grows with every change.
        base_digest: Of the base model that the routes were made for.
        routes: ``tenant/domain`` to `Route`.
        revoked: Names of keys that no longer work.
    """

    generation: int
    base_digest: str
    routes: dict[str, Route]
    revoked: frozenset[str]

    @classmethod
    def parse(cls, document: dict[str, Any]) -> RouteTable:
        """Read a document; KeyError, TypeError or ValueError if it is none."""
        routes = {
            name: Route(int(entry["version"]), entry["adapter_digest"], entry["candidate_uri"])
            for name, entry in document["domains"].items()
        }
        base = document["base_model"]
        return cls(int(document["generation"]), str(base["digest"]), routes, frozenset(document["revoked_keys"]))


class Router:
    """Looks up routes in the last good copy and refreshes it when it is older than `poll_s`.

    Args:
        store: The platform's store.
        poll_s: Seconds between looks at the store; a promotion is visible after at most that.
        clock: Monotonic seconds.
    """

    def __init__(self, store: Storage, poll_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._poll_s, self._clock = store, poll_s, clock
        self._table: RouteTable | None = None
        self._etag = ""
        self._looked = -float("inf")
        self._lock = threading.Lock()

    def table(self) -> RouteTable:
        """The routes as they are known now.

        Raises:
            Unavailable: There never was a readable routes.json.
        """
        with self._lock:
            if self._clock() - self._looked >= self._poll_s:
                self._looked = self._clock()
                self._refresh()
            if self._table is None:
                raise Unavailable("There are no routes yet; the control plane writes them when it starts.")
            return self._table

    def resolve(self, tenant: str, domain: str) -> Route:
        """The route of one domain.

        Raises:
            NoSuchDomain: The tenant has no such domain.
            Unavailable: There never was a readable routes.json.
        """
        route = self.table().routes.get(f"{tenant}/{domain}")
        if route is None:
            raise NoSuchDomain(f"There is no domain {domain!r}; `udair domain list` names those there are.")
        return route

    def _refresh(self) -> None:
        try:
            etag = self._store.head(ROUTES).etag
            if etag == self._etag:
                return
            table = RouteTable.parse(json.loads(self._store.get(ROUTES, max_bytes=_MAX_BYTES)))
        except NotFound:
            return
        except (StorageError, ValueError, KeyError, TypeError) as error:
            # Serving goes on with the last good copy; only its age is a problem.
            _log.warning("routes_not_refreshed", error=str(error), generation=self._table and self._table.generation)
            return
        if self._table is None or table.generation >= self._table.generation:
            self._table, self._etag = table, etag
            _log.info("routes", generation=table.generation, domains=len(table.routes))
