"""Which adapter serves which domain: a polled copy of routes.json that outlives the control plane."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from udair.config import Tone, check_tone
from udair_jobs.storage import NotFound, Role, Storage, StorageError
from udair_platform.documents.store_paths import ROUTES
from udair_platform.errors import Invalid, Unavailable
from udair_platform.errors import NotFound as NoSuchDomain
from udair_platform.files import write_whole
from udair_platform.telemetry import logger

_MAX_BYTES = 256 * 2**20
_log = logger("serving")


@dataclass(frozen=True)
class Target:
    """One version of a domain's model.

    Attributes:
        version: Adapter version; 0 is the source model.
        adapter_digest: SHA-256 of the adapter, None for the source model.
        candidate_uri: Folder of the adapter in the platform's store.
        tone: The intent that it must have been made for.
        out_of_use: Why the version that was promoted does not answer, and the base model does; empty if it does.
    """

    version: int
    adapter_digest: str | None = None
    candidate_uri: str | None = None
    tone: Tone = "keep"
    out_of_use: str = ""

    @property
    def row_name(self) -> str | None:
        """Name of its row among those that are resident: the adapter, as one of this tone; None for the source model."""
        return self.adapter_digest and f"{self.adapter_digest}:{self.tone}"


SOURCE = Target(0)


@dataclass(frozen=True)
class RoutedShare:
    """A version that takes part of a domain's traffic, 0 to 100 percent of it."""

    target: Target
    percent: float

    def takes(self, key: str) -> bool:
        """Whether the request with this key falls into the share; the same key always answers the same."""
        salted = f"{self.target.version}.{key}".encode()
        return int.from_bytes(hashlib.sha256(salted).digest()[:8], "big") / 2**64 * 100 < self.percent


@dataclass(frozen=True)
class DomainRoute:
    """What serves one domain.

    Attributes:
        champion: Serves what no canary takes.
        canary: Serves its share of the requests.
        shadow: Restores its share of the requests a second time, to be compared; never answers.
        pinned: The adapters stay resident.
        source_uri: Where the domain's images are: the only place that requests may name images in.
        source_role: Whose rights they are read with, if not the endpoint's own.
        profile_uri: Folder of the `profile.json` that traffic is compared with.
        tone: The domain's intent.
        passthrough: Why images that no adapter is for are served as they came; empty if they are restored.
    """

    champion: Target = SOURCE
    canary: RoutedShare | None = None
    shadow: RoutedShare | None = None
    pinned: bool = False
    source_uri: str | None = None
    source_role: Role | None = None
    profile_uri: str | None = None
    tone: Tone = "keep"
    passthrough: str = ""

    def choose(self, key: str) -> Target:
        """The version that answers the request with this key."""
        return self.canary.target if self.canary and self.canary.takes(key) else self.champion

    def tone_of(self, asked: Tone | None, target: Target) -> Tone:
        """The intent of a request that asks for one, or for none; an adapter answers with its own only.

        Raises:
            Invalid: The adapter of `target` was made for the other.
        """
        if asked is None or asked == self.tone or target.adapter_digest is None:
            return asked or self.tone
        raise Invalid(
            f"tone is {asked!r}; version {target.version} was made for {self.tone!r}. Leave tone out, or set the "
            f"domain's tone to {asked!r} and adapt it again."
        )

    @property
    def targets(self) -> list[Target]:
        """Every version that may be loaded for the domain."""
        return [self.champion, *(share.target for share in (self.canary, self.shadow) if share)]

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> DomainRoute:
        """Read one entry of the document; KeyError, TypeError or ValueError if it is none."""

        def share(name: str) -> RoutedShare | None:
            found = entry.get(name)
            return RoutedShare(_target(found, tone), float(found["percent"])) if found else None

        arn, tone = entry.get("source_role_arn"), check_tone(str(entry.get("tone", "keep")))
        return cls(
            _target(entry, tone),
            share("canary"),
            share("shadow"),
            bool(entry.get("pinned", False)),
            entry.get("source_uri"),
            Role(arn, entry.get("source_external_id")) if arn else None,
            entry.get("profile_uri"),
            tone,
            str(entry.get("passthrough", "")),
        )


@dataclass(frozen=True)
class RouteTable:
    """One generation of routes.json, parsed.

    Attributes:
        generation: Grows with every change.
        base_digest: Of the base model that the routes were made for.
        routes: ``tenant/domain`` to `Route`.
        revoked: From when on keys are refused, seconds since the epoch, by their names.
    """

    generation: int
    base_digest: str
    routes: dict[str, DomainRoute]
    revoked: Mapping[str, float]

    @classmethod
    def parse(cls, document: dict[str, Any]) -> RouteTable:
        """Read a document; KeyError, TypeError or ValueError if it is none."""
        routes = {name: DomainRoute.parse(entry) for name, entry in document["domains"].items()}
        base = document["base_model"]
        return cls(int(document["generation"]), str(base["digest"]), routes, _revoked(document["revoked_keys"]))


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
        self._store, self._poll_s, self._copy, self._clock = store, poll_s, copy, clock
        self._table: RouteTable | None = None
        self._etag = ""
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
            table = RouteTable.parse(json.loads(data))
        except NotFound:
            self._use_copy()
            return
        except (StorageError, ValueError, KeyError, TypeError) as error:
            # Serving goes on with the last good copy; only its age is a problem.
            _log.warning("routes_not_refreshed", error=str(error), generation=self._table and self._table.generation)
            self._use_copy()
            return
        if self._table is None or table.generation >= self._table.generation:
            self._table, self._etag = table, etag
            self._keep_copy(data)
            _log.info("routes", generation=table.generation, domains=len(table.routes))

    def _use_copy(self) -> None:
        if self._table is not None or self._copy is None:
            return
        try:
            self._table = RouteTable.parse(json.loads(self._copy.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning("routes_copy_unusable", path=str(self._copy), error=str(error))
            return
        _log.warning("routes_from_copy", generation=self._table.generation)

    def _keep_copy(self, data: bytes) -> None:
        if self._copy is None:
            return
        try:
            self._copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._copy, data)
        except OSError as error:
            _log.warning("routes_copy_not_kept", path=str(self._copy), error=str(error))


def _target(entry: dict[str, Any], tone: Tone) -> Target:
    return Target(
        int(entry["version"]), entry["adapter_digest"], entry["candidate_uri"], tone, str(entry.get("out_of_use", ""))
    )


def _revoked(keys: dict[str, float] | list[str]) -> Mapping[str, float]:
    # An older control plane lists names.
    return dict.fromkeys(keys, 0.0) if isinstance(keys, list) else {kid: float(time) for kid, time in keys.items()}
