"""A polled copy of routes.json that outlives the control plane."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from udair_jobs.storage import NotFound, Storage, StorageError
from udair_platform.documents.store_paths import ROUTES
from udair_platform.errors import NotFound as NoSuchDomain
from udair_platform.errors import Unavailable
from udair_platform.files import write_whole
from udair_platform.serving.routing.table import DomainRoute, RouteTable, parse_shard, shard_keys
from udair_platform.telemetry import logger

_MAX_BYTES = 256 * 2**20
_NO_ROUTES = (KeyError, TypeError, AttributeError)  # of what is JSON, and no routes
_log = logger("serving")


class Router:
    """The last good routes, refreshed when they are older than `poll_s`.

    `table` looks at the store itself when it is time, unless `watch` was called: then a thread does,
    and no request ever waits for the store.

    Args:
        store: The platform's store.
        poll_s: Seconds between looks at the store; a promotion is visible after at most that.
        copy: File that keeps the last good document: a restart while the store is away goes on with it.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: Storage,
        poll_s: float = 1.0,
        copy: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._poll_s, self._clock = store, poll_s, clock
        self._kept = KeptRoutes(copy)
        self._table: RouteTable | None = None
        self._etag = ""
        self._shards: dict[str, dict[str, DomainRoute]] = {}  # of the table, by their keys
        self._looked = -float("inf")
        self._lock = threading.Lock()
        self._watching: threading.Event | None = None

    def table(self) -> RouteTable:
        """The routes as they are known now.

        Raises:
            Unavailable: There never was a readable routes.json.
        """
        if self._watching is None or self._table is None:
            self._look()
        if self._table is None:
            raise Unavailable("There are no routes yet; the control plane writes them when it starts.")
        return self._table

    def resolve(self, tenant: str, domain: str) -> DomainRoute:
        """The route of one domain.

        Raises:
            NoSuchDomain: The tenant has no such domain.
            Unavailable: There never was a readable routes.json.
        """
        route = self.table().routes.get(f"{tenant}/{domain}")
        if route is None:
            raise NoSuchDomain(f"There is no domain {domain!r}; `udair domain list` names those there are.")
        return route

    def watch(self, on_change: Callable[[RouteTable], object] = lambda table: None) -> None:
        """Look at the store in a thread from now on; `on_change` is called there with every new table."""
        self._watching = stop = threading.Event()
        known: RouteTable | None = None

        def run() -> None:
            nonlocal known
            while True:
                self._look()
                if self._table is not None and self._table is not known:
                    known = self._table
                    on_change(known)
                if stop.wait(self._poll_s):
                    return

        threading.Thread(target=run, name="routes", daemon=True).start()

    def close(self) -> None:
        """End the thread that `watch` began."""
        if self._watching is not None:
            self._watching.set()

    def _look(self) -> None:
        with self._lock:
            if self._clock() - self._looked >= self._poll_s:
                self._refresh()
                self._looked = self._clock()

    def _refresh(self) -> None:
        try:
            etag = self._store.head(ROUTES).etag
            if etag == self._etag:
                return
            data = self._store.get(ROUTES, max_bytes=_MAX_BYTES)
            document = json.loads(data)
            shards = {key: self._shard(key) for key in shard_keys(document)}
            table = RouteTable.parse(document, shards.values())
        except NotFound:  # of a shard, too: it was replaced since the document was read
            self._use_copy()
            return
        except (StorageError, ValueError, *_NO_ROUTES) as error:
            # Serving goes on with the last good copy; only its age is a problem.
            _log.warning("routes_not_refreshed", error=str(error), generation=self._table and self._table.generation)
            self._use_copy()
            return
        if self._table is None or table.generation >= self._table.generation:
            self._table, self._etag, self._shards = table, etag, shards
            self._kept.keep(data, shards)
            _log.info("routes", generation=table.generation, domains=len(table.routes))

    def _shard(self, key: str) -> dict[str, DomainRoute]:
        """What is in a shard: only those that have changed are read."""
        known = self._shards.get(key)
        if known is not None:
            return known
        data = self._store.get(key, max_bytes=_MAX_BYTES)
        parsed = parse_shard(data)
        self._kept.keep_shard(key, data)
        return parsed

    def _use_copy(self) -> None:
        if self._table is not None:
            return
        try:
            document = json.loads(self._kept.document())
            shards = {key: parse_shard(self._kept.shard(key)) for key in shard_keys(document)}
            self._table, self._shards = RouteTable.parse(document, shards.values()), shards
        except FileNotFoundError:
            return
        except (OSError, ValueError, *_NO_ROUTES) as error:
            _log.warning("routes_copy_unusable", error=str(error))
            return
        _log.warning("routes_from_copy", generation=self._table.generation)


class KeptRoutes:
    """The last good routes on this machine's disk: the document, and its shards in a folder beside it.

    Args:
        path: Of the document; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def document(self) -> bytes:
        """What was kept; OSError if that is nothing."""
        if self._path is None:
            raise FileNotFoundError
        return self._path.read_bytes()

    def shard(self, key: str) -> bytes:
        """The same, of a shard."""
        return self._beside(key).read_bytes()

    def keep_shard(self, key: str, data: bytes) -> None:
        """Before the document that names it."""
        if self._path is not None:
            self._write(self._beside(key), data)

    def keep(self, data: bytes, shards: Collection[str]) -> None:
        """A document, and of the shards those that it names."""
        if self._path is None:
            return
        self._write(self._path, data)
        named = {self._beside(key) for key in shards}
        for old in set(self._beside("").glob("*.json")) - named:
            old.unlink(missing_ok=True)

    def _beside(self, key: str) -> Path:
        assert self._path is not None
        return self._path.with_suffix("") / key.rpartition("/")[2]

    def _write(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            _log.warning("routes_copy_not_kept", path=str(path), error=str(error))
