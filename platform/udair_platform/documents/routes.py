"""routes.json: what the data plane serves, so that it can do so while the control plane is away.

The document is a function of the database. Its domains lie in shards, objects of their own that never change: a promotion
among ten thousand domains writes the shard of one, and the document, which names the shards. Every change that it shows
steps a generation counter in the same transaction, and one of each shard that it touches; the document carries the
generations that it was rendered at. A writer never puts an older generation over a newer one, and the reconciler writes
again whenever the document is behind: so a crash between the commit and the write heals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from udair_jobs.storage import NotFound, PreconditionFailed, Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.documents.route_entries import entries
from udair_platform.errors import StoreDown
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS, State
from udair_platform.state.repositories.routing import shard_of

GENERATION = "routes"
_SHARDS = f"{GENERATION}/"  # before a shard's name: its own counter; alone: that of all shards together
_MAX_BYTES = 256 * 2**20
_TRIES = 5


def changed(state: State, *domain_ids: str) -> int:
    """Say, within the transaction that changes it, that the document must follow; the generation.

    Args:
        domain_ids: The domains that are served otherwise now; none where only keys were revoked.
    """
    generation = state.counters.step(GENERATION)
    for shard in sorted({shard_of(id) for id in domain_ids}):
        state.counters.step(_SHARDS + shard, at_least=generation)
    return generation


def all_changed(state: State, *, at_least: int = 0) -> int:
    """The same, where every domain is served otherwise: by another base model."""
    generation = state.counters.step(GENERATION, at_least=at_least)
    state.counters.step(_SHARDS, at_least=generation)
    return generation


def render(state: State) -> dict[str, Any]:
    """All of it as the database has it now, as `read` gives it."""
    domains = {name: entry for shard in entries(state).values() for name, entry in shard.items()}
    return {**_head(state), "domains": domains}


def _head(state: State) -> dict[str, Any]:
    base = state.bases.current()
    return {
        "schema_version": 2,
        "generation": state.counters.value(GENERATION),
        "base_model": {"name": base.name, "digest": base.digest, "uri": base.uri} if base else None,
        # Some of them only from a moment to come: see `services.api_keys.rotate_key`.
        "revoked_keys": {kid: time.timestamp() for kid, time in state.keys.revoked(ALL_TENANTS).items()},
    }


def read(store: Storage) -> dict[str, Any] | None:
    """The document with the domains of all its shards, or None if there is none, or none that can be read.

    Domains of a shard that is missing or damaged are not in it.

    Raises:
        StoreDown: The store does not answer.
    """
    document, _ = _read(store)
    if document is None:
        return None
    domains: dict[str, Any] = {}
    for shard in document.pop("shards").values():
        with suppress(NotFound, ValueError):
            domains |= json.loads(_got(store, shard["key"])) if shard["key"] else {}
    return {**document, "domains": domains}


def publish(database: Database, store: Storage, *, everything: bool = False) -> int:
    """Make the document in `store` show what the database has; returns its generation.

    Safe to call at any time, from several processes.

    Args:
        everything: Write every shard again, whatever its generation: one of them is missing or damaged.

    Raises:
        StoreDown: The store does not answer, or keeps changing under us.
    """
    for _ in range(_TRIES):
        # The document first: whoever wrote it had committed, so the database cannot be behind it
        # unless it was restored from an older copy.
        stored, etag = _read(store)
        behind = int(stored["generation"]) if stored else 0
        with database.read() as state:
            wanted = _head(state)
            overtaken = wanted["generation"] < behind
            before = stored["shards"] if stored else {}
            new = stored is None or stored["base_model"] != wanted["base_model"]
            shards = {} if overtaken else _shards(state, before, everything or new)
        wanted["shards"] = {name: {k: v for k, v in shard.items() if k != "data"} for name, shard in shards.items()}
        if stored == wanted and not everything:
            return int(wanted["generation"])
        if stored is not None and wanted["generation"] <= behind:
            with database.write() as state:
                if state.counters.value(GENERATION) <= behind:
                    all_changed(state, at_least=behind + 1) if overtaken else state.counters.step(GENERATION)
            continue
        try:
            for shard in shards.values():
                if "data" in shard:
                    store.put(shard["key"], shard["data"])
            store.put(
                store_paths.ROUTES,
                json.dumps(wanted, sort_keys=True).encode(),
                if_absent=etag is None,
                if_match=etag,
            )
        except PreconditionFailed:
            continue
        except StorageError as error:
            raise StoreDown(f"routes.json cannot be written: {error}") from error
        _forget(store, before, wanted["shards"])
        return int(wanted["generation"])
    raise StoreDown(f"routes.json changed {_TRIES} times while it was written; trying again later.")


def _shards(state: State, stored: Mapping[str, Any], everything: bool) -> dict[str, Any]:
    """Every shard of the document: as it is stored where that is not behind, else rendered, with its bytes as `data`.

    `previous` is what it was before, which a replica may be about to read.
    """
    own = state.counters.under(_SHARDS)
    of_all = own.pop("", 0)

    def wanted(name: str) -> int:
        return max(of_all, own.get(name, 0))

    fresh = () if everything else {name for name, shard in stored.items() if shard["generation"] == wanted(name)}
    late = {*own, *stored}.difference(fresh)
    made = entries(state, None if everything else late) if everything or late else {}
    found: dict[str, Any] = {}
    for name in sorted({*own, *stored, *made}):
        if name in fresh:
            found[name] = stored[name]
            continue
        generation = wanted(name)
        shard = {"generation": generation, "key": None, "previous": stored.get(name, {}).get("key")}
        if name in made:
            data = json.dumps(made[name], sort_keys=True).encode()
            digest = hashlib.sha256(data).hexdigest()[:12]
            shard |= {"key": store_paths.route_shard(name, generation, digest), "data": data}
        found[name] = shard
    return found


def _forget(store: Storage, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Delete what neither this document names any more nor the one before."""
    kept = {shard[which] for shard in after.values() for which in ("key", "previous")}
    for shard in before.values():
        if shard["previous"] and shard["previous"] not in kept:
            with suppress(StorageError):  # an object too many harms nobody
                store.delete(shard["previous"])


def version(database: Database, store: Storage) -> tuple[int, str | None]:
    """What can be asked cheaply: the generation wanted, and the etag of the document that is there.

    Raises:
        StoreDown: The store does not answer.
    """
    with database.read() as state:
        generation = state.counters.value(GENERATION)
    try:
        return generation, store.head(store_paths.ROUTES).etag
    except NotFound:
        return generation, None
    except StorageError as error:
        raise StoreDown(f"routes.json cannot be read: {error}") from error


def _read(store: Storage) -> tuple[dict[str, Any] | None, str | None]:
    """The document as it is stored and its etag; None for one that is damaged, or of an older release: it is replaced."""
    try:
        etag = store.head(store_paths.ROUTES).etag
        data = store.get(store_paths.ROUTES, if_match=etag, max_bytes=_MAX_BYTES)
    except NotFound:
        return None, None
    except PreconditionFailed:
        return _read(store)
    except StorageError as error:
        raise StoreDown(f"routes.json cannot be read: {error}") from error
    try:
        document = json.loads(data)
        int(document["generation"])
        document["base_model"]
        for shard in document["shards"].values():
            int(shard["generation"]), shard["key"], shard["previous"]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None, etag
    return document, etag


def _got(store: Storage, key: str) -> bytes:
    try:
        return store.get(key, max_bytes=_MAX_BYTES)
    except NotFound:
        raise
    except StorageError as error:
        raise StoreDown(f"{key} cannot be read: {error}") from error
