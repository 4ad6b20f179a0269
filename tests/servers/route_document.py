"""routes.json written by hand, as the control plane writes it: domains in shards beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from udair_jobs.storage import Storage
from udair_platform.documents.store_paths import ROUTES, route_shard


def put_routes(store: Storage, document: Mapping[str, Any], shards: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `document` and, before it, entries of its domains by shard."""
    named: dict[str, Any] = {}
    for name, entries in shards.items():
        key = route_shard(name, document["generation"], "0" * 12)
        store.put(key, json.dumps(entries).encode())
        named[name] = {"generation": document["generation"], "key": key, "previous": None}
    store.put(ROUTES, json.dumps({"schema_version": 2, **document, "shards": named}).encode())
