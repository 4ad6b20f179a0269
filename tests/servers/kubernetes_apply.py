"""Server-side apply: who owns which field of an object, what conflicts, and what a new configuration removes.

A path is a tuple of fieldsV1 elements (``f:name``, ``k:{"name":"x"}``, ``v:value``). Lists are merged by
their keys where the schema says so, and are otherwise owned whole, as built-in kinds' lists are here.
"""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from kubernetes_status import Object, apply_conflict

Path = tuple[str, ...]
_IDENTITY = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "deletionTimestamp",
    "selfLink",
)
_MISSING = object()


def apply(
    live: Object | None, wanted: Object, schema: Object, *, manager: str, force: bool, subresource: str = ""
) -> Object:
    """`live` with the fields of `wanted`, which `manager` owns from now on; 409 for those of others."""
    version = wanted["apiVersion"]
    leaves = dict(_leaves(_owned_part(wanted), schema, ()))
    result = deepcopy(live) if live else {"apiVersion": version, "kind": wanted["kind"], "metadata": {}}
    entries = list(result["metadata"].get("managedFields") or ())
    mine = _entry(entries, manager, "Apply", subresource)
    others = [one for one in entries if one is not mine]
    conflicts = []
    for path, value in leaves.items():
        now = _get(result, path)
        if now is _MISSING or now == value:
            continue
        for other in others:
            if path in (theirs := _paths(other["fieldsV1"])):
                conflicts.append((other["manager"], other["apiVersion"], _text(path)))
                _write_paths(other, theirs - {path})
    if conflicts and not force:
        raise apply_conflict(conflicts)
    before = _paths(mine["fieldsV1"]) if mine else set()
    kept = set().union(*(_paths(one["fieldsV1"]) for one in others)) if others else set()
    for path in sorted(before - set(leaves) - kept, key=len, reverse=True):
        _remove(result, path)
    for path, value in leaves.items():
        _set(result, path, value)
    for key in ("name", "namespace"):
        if key in wanted["metadata"]:
            result["metadata"][key] = wanted["metadata"][key]
    entry = {"manager": manager, "operation": "Apply", "apiVersion": version, "time": _now(), "fieldsType": "FieldsV1"}
    if subresource:
        entry["subresource"] = subresource
    _write_paths(entry, set(leaves))
    if mine and mine["fieldsV1"] == entry["fieldsV1"]:
        entry["time"] = mine["time"]  # nothing new: the same object stays the same version
    result["metadata"]["managedFields"] = [one for one in others if one["fieldsV1"]] + [entry]
    return result


def note_update(old: Object | None, new: Object, schema: Object, *, manager: str, subresource: str = "") -> None:
    """Give the fields in which `new` differs from `old` to `manager`, in `new` itself."""
    after = dict(_leaves(_owned_part(new), schema, ()))
    before = dict(_leaves(_owned_part(old), schema, ())) if old else {}
    changed = {path for path, value in after.items() if before.get(path, _MISSING) != value}
    gone = set(before) - set(after)
    entries = deepcopy((old or new)["metadata"].get("managedFields") or [])
    for entry in entries:
        same = (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, "Update", subresource)
        _write_paths(entry, _paths(entry["fieldsV1"]) - gone - (set() if same else changed))
    if changed:
        mine = _entry(entries, manager, "Update", subresource)
        if mine is None:
            mine = {"manager": manager, "operation": "Update", "apiVersion": new["apiVersion"], "fieldsV1": {}}
            mine |= {"fieldsType": "FieldsV1", **({"subresource": subresource} if subresource else {})}
            entries.append(mine)
        mine["time"] = _now()
        _write_paths(mine, _paths(mine["fieldsV1"]) | changed)
    new["metadata"]["managedFields"] = [one for one in entries if one["fieldsV1"]]


def merge_patch(old: Any, patch: Any) -> Any:
    """`old` after a JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    out = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merge_patch(out.get(name), value)
    return out


def only_asked(checked: Any, asked: Any) -> Any:
    """`checked` without the defaults that `asked` did not hold: nobody applied those."""
    if isinstance(checked, dict) and isinstance(asked, dict):
        return {name: only_asked(value, asked[name]) for name, value in checked.items() if name in asked}
    if isinstance(checked, list) and isinstance(asked, list):
        return [only_asked(one, two) for one, two in zip(checked, asked, strict=True)]
    return checked


def _owned_part(whole: Object) -> Object:
    part = {key: value for key, value in whole.items() if key not in ("apiVersion", "kind", "metadata")}
    meta = {key: value for key, value in (whole.get("metadata") or {}).items() if key not in _IDENTITY}
    return {**part, **({"metadata": meta} if meta else {})}


def _entry(entries: list[Object], manager: str, operation: str, subresource: str) -> Object | None:
    wanted = (manager, operation, subresource)
    return next(
        (one for one in entries if (one["manager"], one["operation"], one.get("subresource", "")) == wanted), None
    )


def _leaves(value: Any, schema: Object, path: Path) -> Any:
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        known, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, one in value.items():
            inner = known.get(name) or (rest if isinstance(rest, dict) else {})
            yield from _leaves(one, inner, (*path, f"f:{name}"))
    elif isinstance(value, list) and value and schema.get("x-kubernetes-list-type") == "map":
        keys = schema["x-kubernetes-list-map-keys"]
        known = (schema.get("items") or {}).get("properties") or {}
        for one in value:
            # A key that is left out has its default: the protocol of a port is TCP.
            key = json.dumps({name: one.get(name, known.get(name, {}).get("default")) for name in keys}, sort_keys=True)
            yield from _leaves(one, schema.get("items") or {}, (*path, f"k:{key}"))
    elif path:
        yield path, value


def _paths(fields: Object, path: Path = ()) -> set[Path]:
    if not fields and path:
        return {path}
    return set().union(*(_paths(inner, (*path, name)) for name, inner in fields.items())) if fields else set()


def _write_paths(entry: Object, paths: set[Path]) -> None:
    fields: Object = {}
    for path in sorted(paths):
        at = fields
        for element in path:
            at = at.setdefault(element, {})
    entry["fieldsV1"] = fields


def _text(path: Path) -> str:
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        text += (
            f".{rest}" if kind == "f" else f"[{','.join(f'{k}={json.dumps(v)}' for k, v in json.loads(rest).items())}]"
        )
    return text


def _step(at: Any, element: str) -> Any:
    kind, _, rest = element.partition(":")
    if kind == "f":
        return at.get(rest, _MISSING) if isinstance(at, dict) else _MISSING
    key = json.loads(rest)
    found = (one for one in at if all(one.get(name) == value for name, value in key.items()))
    return next(found, _MISSING) if isinstance(at, list) else _MISSING


def _get(whole: Any, path: Path) -> Any:
    for element in path:
        whole = _step(whole, element)
        if whole is _MISSING:
            break
    return whole


def _set(whole: Object, path: Path, value: Any) -> None:
    at: Any = whole
    for index, element in enumerate(path[:-1]):
        inner = _step(at, element)
        if inner is _MISSING:
            inner = [] if path[index + 1].startswith("k:") else {}
            if element.startswith("f:"):
                at[element[2:]] = inner
            else:
                inner = json.loads(element[2:])
                at.append(inner)
        at = inner
    if path[-1].startswith("f:"):
        at[path[-1][2:]] = deepcopy(value)
    elif _step(at, path[-1]) is _MISSING:
        at.append(deepcopy(value))


def _remove(whole: Object, path: Path) -> None:
    at = _get(whole, path[:-1])
    if at is _MISSING:
        return
    if path[-1].startswith("f:"):
        at.pop(path[-1][2:], None)
    elif (one := _step(at, path[-1])) is not _MISSING:
        at.remove(one)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
