"""Watches and selectors of the Kubernetes double: what each change is to somebody who sees only a part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from kubernetes_status import Object, bad_request, expired
from kubernetes_store import Kind, Store


def events(
    store: Store,
    kind: Kind,
    namespace: str,
    chosen: Callable[[Object], bool],
    *,
    version: int,
    ends: float,
    bookmark_s: float | None,
) -> Iterator[tuple[str, Object]]:
    """Changes after `version` until the time `ends`; the last is an ERROR when the history has gone.

    Args:
        bookmark_s: Time between bookmarks; None sends none.
    """
    marked = time.monotonic()
    while time.monotonic() < ends:
        with store.changed:
            if version >= store.compacted and not store.since(version, kind.of):
                store.changed.wait(min(0.05, max(0.0, ends - time.monotonic())))
            if version < store.compacted:
                yield "ERROR", expired(version, store.compacted).body()
                return
            changes, reached = store.since(version, kind.of), store.version
        for change in changes:
            if namespace and change.object["metadata"].get("namespace") != namespace:
                continue
            if seen := _seen(change.type, chosen, change.object, change.before):
                yield seen, change.object
        version = reached
        if bookmark_s is not None and time.monotonic() - marked >= bookmark_s:
            marked = time.monotonic()
            meta = {"resourceVersion": str(version)}
            yield "BOOKMARK", {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}


def selected(query: dict[str, str]) -> Callable[[Object], bool]:
    """What the query's label and field selectors take; 400 for fields that cannot be asked for."""
    labels = dict(pair.split("=", 1) for pair in (query.get("labelSelector") or "").split(",") if pair)
    wanted = dict(pair.split("=", 1) for pair in (query.get("fieldSelector") or "").split(",") if pair)
    for path in wanted:
        if path not in ("metadata.name", "involvedObject.name", "involvedObject.kind"):
            raise bad_request(f'field label not supported: "{path}"')

    def chosen(one: Object) -> bool:
        have = one["metadata"].get("labels") or {}
        if any(have.get(name) != value for name, value in labels.items()):
            return False
        for path, value in wanted.items():
            top, _, rest = path.partition(".")
            if (one.get(top) or {}).get(rest) != value:
                return False
        return True

    return chosen


def _seen(change: str, chosen: Callable[[Object], bool], now: Object, before: Object | None) -> str | None:
    was = before is not None and chosen(before)
    if change == "DELETED":
        return "DELETED" if was else None
    if chosen(now):
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else None
