"""routes.json: what the data plane serves, so that it can do so while the control plane is away.

The document is a function of the database. Every change that it shows steps a generation counter in
the same transaction; the document carries the generation that it was rendered at. A writer never
puts an older generation over a newer one, and the reconciler writes again whenever the document is
behind: so a crash between the commit and the write heals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from udair_jobs.storage import NotFound, PreconditionFailed, Storage, StorageError
from udair_platform.entities.domain import CHAMPION, SOURCE_VERSION, BaseModel, Domain, Share
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import StoreDown
from udair_platform.registry import layout
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS, State

GENERATION = "routes"
_MAX_BYTES = 256 * 2**20
_PAGE = 1000
_TRIES = 5


def changed(state: State) -> int:
    """Say, within the transaction that changes it, that the document must follow; the generation."""
    return state.counters.step(GENERATION)


def render(state: State) -> dict[str, Any]:
    """The document as the database has it now.

    A champion that was made for another base model than the current one cannot be loaded: its
    domain is routed to the source model.
    """
    base = state.bases.current()
    serving = {alias.domain_id: alias.version for alias in state.aliases.all(ALL_TENANTS) if alias.name == CHAMPION}
    newest = state.versions.newest(ALL_TENANTS)
    domains: dict[str, Any] = {}
    after: int | None = None
    while page := state.domains.page(ALL_TENANTS, after=after, size=_PAGE):
        after = page[-1].seq
        wanted = [
            (domain.id, number)
            for domain in page
            for number in (serving.get(domain.id), *(share.version for share in domain.traffic.shares))
            if number
        ]
        found = state.versions.many(ALL_TENANTS, wanted)
        for domain in page:
            champion = _target(found.get((domain.id, serving.get(domain.id, SOURCE_VERSION))), base)
            latest = newest.get(domain.id)
            domains[f"{domain.tenant}/{domain.name}"] = {
                **champion,
                "canary": _share(domain, domain.traffic.canary, found, base),
                "shadow": _share(domain, domain.traffic.shadow, found, base),
                "pinned": domain.traffic.pinned,
                "source_uri": domain.source_uri,
                # A domain that the source model serves is compared with what its newest job saw.
                "profile_uri": champion["candidate_uri"] or (latest.candidate_uri if latest else None),
            }
    return {
        "schema_version": 1,
        "generation": state.counters.value(GENERATION),
        "base_model": {"name": base.name, "digest": base.digest, "uri": base.uri} if base else None,
        "domains": domains,
        # Some of them only from a moment to come: see `registry.access.rotate_key`.
        "revoked_keys": {kid: time.timestamp() for kid, time in state.keys.revoked(ALL_TENANTS).items()},
    }


def _target(version: AdapterVersion | None, base: BaseModel | None) -> dict[str, Any]:
    usable = version is not None and base is not None and version.base_digest == base.digest
    return {
        "version": version.number if version and usable else SOURCE_VERSION,
        "adapter_digest": version.adapter_digest if version and usable else None,
        "candidate_uri": version.candidate_uri if version and usable else None,
    }


def _share(
    domain: Domain,
    share: Share | None,
    found: Mapping[tuple[str, int], AdapterVersion],
    base: BaseModel | None,
) -> dict[str, Any] | None:
    return _target(found.get((domain.id, share.version)), base) | {"percent": share.percent} if share else None


def read(store: Storage) -> dict[str, Any] | None:
    """The document as the data plane finds it, or None if there is none, or none that can be read.

    Raises:
        StoreDown: The store does not answer.
    """
    return _read(store)[0]


def publish(database: Database, store: Storage) -> int:
    """Make the document in `store` show what the database has; returns its generation.

    Safe to call at any time, from several processes.

    Raises:
        StoreDown: The store does not answer, or keeps changing under us.
    """
    for _ in range(_TRIES):
        # The document first: whoever wrote it had committed, so the database cannot be behind it
        # unless it was restored from an older copy.
        stored, etag = _read(store)
        with database.read() as state:
            wanted = render(state)
        if stored == wanted:
            return int(wanted["generation"])
        behind = int(stored["generation"]) if stored else 0
        if wanted["generation"] <= behind:
            with database.write() as state:
                if state.counters.value(GENERATION) <= behind:
                    state.counters.step(GENERATION, at_least=behind + 1)
            continue
        data = json.dumps(wanted, indent=1, sort_keys=True).encode()
        try:
            store.put(layout.ROUTES, data, if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            continue
        except StorageError as error:
            raise StoreDown(f"routes.json cannot be written: {error}") from error
        return int(wanted["generation"])
    raise StoreDown(f"routes.json changed {_TRIES} times while it was written; trying again later.")


def mark(database: Database, store: Storage) -> tuple[int, str | None]:
    """What can be asked cheaply: the generation wanted, and the etag of the document that is there.

    Raises:
        StoreDown: The store does not answer.
    """
    with database.read() as state:
        generation = state.counters.value(GENERATION)
    try:
        return generation, store.head(layout.ROUTES).etag
    except NotFound:
        return generation, None
    except StorageError as error:
        raise StoreDown(f"routes.json cannot be read: {error}") from error


def _read(store: Storage) -> tuple[dict[str, Any] | None, str | None]:
    try:
        etag = store.head(layout.ROUTES).etag
        data = store.get(layout.ROUTES, if_match=etag, max_bytes=_MAX_BYTES)
    except NotFound:
        return None, None
    except PreconditionFailed:
        return _read(store)
    except StorageError as error:
        raise StoreDown(f"routes.json cannot be read: {error}") from error
    try:
        document = json.loads(data)
        int(document["generation"])
    except (ValueError, TypeError, KeyError):
        return None, etag  # damaged: it is replaced
    return document, etag
