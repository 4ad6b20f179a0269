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
from udair_platform.contract.domains import Share
from udair_platform.documents import store_paths
from udair_platform.entities.domain import SOURCE_VERSION
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.errors import StoreDown
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS, State
from udair_platform.state.repositories.routing import Routed

GENERATION = "routes"
_MAX_BYTES = 256 * 2**20
_TRIES = 5
_SOURCE = {"version": SOURCE_VERSION, "adapter_digest": None, "candidate_uri": None}


def changed(state: State) -> int:
    """Say, within the transaction that changes it, that the document must follow; the generation."""
    return state.counters.step(GENERATION)


def render(state: State) -> dict[str, Any]:
    """The document as the database has it now.

    A champion that was made for another base model than the current one cannot be loaded: its
    domain is routed to the source model.
    """
    base = state.bases.current()
    routed = state.routing.all()
    shares = [(item.domain_id, share.version) for item in routed for share in item.traffic.shares]
    found = {
        key: _target(version.number, version.base_digest, version.adapter_digest, version.candidate_uri, base)
        for key, version in state.versions.many(ALL_TENANTS, shares).items()
    }
    domains: dict[str, Any] = {}
    for item in routed:
        champion = _target(item.number, item.base_digest, item.adapter_digest, item.candidate_uri, base)
        domains[f"{item.tenant}/{item.name}"] = {
            **champion,
            "canary": _share(item, item.traffic.canary, found),
            "shadow": _share(item, item.traffic.shadow, found),
            "pinned": item.traffic.pinned,
            "source_uri": item.source_uri,
            "source_role_arn": item.source_role_arn,
            "source_external_id": item.external_id if item.source_role_arn else None,
            # A domain that the source model serves is compared with what its newest job saw.
            "profile_uri": champion["candidate_uri"] or item.newest_uri,
        }
    return {
        "schema_version": 1,
        "generation": state.counters.value(GENERATION),
        "base_model": {"name": base.name, "digest": base.digest, "uri": base.uri} if base else None,
        "domains": domains,
        # Some of them only from a moment to come: see `services.api_keys.rotate_key`.
        "revoked_keys": {kid: time.timestamp() for kid, time in state.keys.revoked(ALL_TENANTS).items()},
    }


def _target(
    number: int | None, base_digest: str | None, adapter: str | None, uri: str | None, base: RegisteredModel | None
) -> dict[str, Any]:
    if number is None or base is None or base_digest != base.digest:
        return dict(_SOURCE)
    return {"version": number, "adapter_digest": adapter, "candidate_uri": uri}


def _share(item: Routed, share: Share | None, found: Mapping[tuple[str, int], dict[str, Any]]) -> dict[str, Any] | None:
    if share is None:
        return None
    return found.get((item.domain_id, share.version), _SOURCE) | {"percent": share.percent}


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
        data = json.dumps(wanted, sort_keys=True).encode()
        try:
            store.put(store_paths.ROUTES, data, if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            continue
        except StorageError as error:
            raise StoreDown(f"routes.json cannot be written: {error}") from error
        return int(wanted["generation"])
    raise StoreDown(f"routes.json changed {_TRIES} times while it was written; trying again later.")


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
    except (ValueError, TypeError, KeyError):
        return None, etag  # damaged: it is replaced
    return document, etag
