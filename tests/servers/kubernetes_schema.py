"""CustomResourceDefinitions as an API server uses them: pruning, defaults, and validation by jsonschema.

The five CEL rules of KubeRay's definitions are written out; others are not run.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_status import Object, StatusError, bad_request, invalid

DATA = Path(__file__).parents[1] / "data"
OPERATORS = {
    "ray.io": "kuberay-1.7.0",
    "gateway.networking.k8s.io": "gateway-api-1.6.1",
    "kueue.x-k8s.io": "kueue-0.19.2",
    "monitoring.coreos.com": "prometheus-operator-0.93.0",
}
GATEWAY = ("gateways", "httproutes")
KUBERAY = ("rayclusters", "rayjobs", "rayservices")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")


def published_crd(plural: str, group: str = "ray.io") -> Object:
    """The definition that its makers publish, of the version in `OPERATORS`."""
    return json.loads(gzip.decompress((DATA / OPERATORS[group] / f"{plural}.{group}.json.gz").read_bytes()))


class Definition:
    """One served version of a custom resource."""

    def __init__(self, crd: Object, version: str) -> None:
        self.group, self.version = crd["spec"]["group"], version
        self.plural, self.kind = crd["spec"]["names"]["plural"], crd["spec"]["names"]["kind"]
        served = next(one for one in crd["spec"]["versions"] if one["name"] == version)
        self.schema: Object = served["schema"]["openAPIV3Schema"]
        self.has_status = "status" in (served.get("subresources") or {})

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(_json_schema(self.schema))

    def check_applied(self, body: Object) -> None:
        """An applied configuration has the schema's fields and types, whatever the validation directive.

        Servers answer 500 without a reason (kubernetes/kubernetes#139253, open in 1.36).
        """
        meta = body["metadata"]
        found = {name: value for name, value in deepcopy(body).items() if name != "metadata"}
        said = [f".{path}: field not declared in schema" for path in _prune(found, self.schema, "")]
        said += [
            f".{_path(error.absolute_path)}: expected {error.validator_value}, got &value.valueUnstructured"
            for error in self._validator.iter_errors(found)
            if error.validator == "type"
        ]
        if said:
            of = f"{meta.get('namespace', '')}/{meta.get('name', '')}; {self.group}/{self.version}, Kind={self.kind}"
            raise StatusError(500, "", f"failed to create typed patch object ({of}): {' '.join(said)}")

    def admit(self, body: Object, *, strict: bool, old: Object | None = None) -> Object:
        """`body` pruned, with defaults, valid; else 400 (unknown field, only if strict) or 422."""
        found = deepcopy(body)
        meta = found.pop("metadata", {})
        unknown = list(_prune(found, self.schema, ""))
        if unknown and strict:
            fields = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise bad_request(
                f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: '
                f"strict decoding error: {fields}"
            )
        _default(found, self.schema)
        causes = [
            (_path(error.absolute_path), error.message[:300])
            for error in sorted(self._validator.iter_errors(found), key=str)
        ]
        causes += list(_cel(found, old))
        if causes:
            raise invalid(self.kind, self.group, meta.get("name", ""), causes[:10])
        found["metadata"] = meta
        return found


def check_metadata(kind: str, group: str, meta: Object) -> None:
    """Names and labels are what they may be, else 422."""
    name = meta.get("name", "")
    causes = []
    if not _NAME.fullmatch(name):
        causes.append(("metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of …'))
    causes += [
        ("metadata.labels", f'Invalid value: "{value}": a valid label must be an empty string or consist of …')
        for value in (meta.get("labels") or {}).values()
        if not isinstance(value, str) or not _LABEL.fullmatch(value)
    ]
    if causes:
        raise invalid(kind, group, name, causes)


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _json_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_json_schema(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        pattern = {"pattern": schema["pattern"]} if "pattern" in schema else {}
        return {"anyOf": [{"type": "integer"}, {"type": "string", **pattern}]}
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    nullable = kept.pop("nullable", False)
    for key in ("default", "format", "example", "externalDocs"):
        kept.pop(key, None)
    out: Object = {}
    for key, value in kept.items():
        if key == "properties":
            out[key] = {name: _json_schema(one) for name, one in value.items()}
        elif key in ("enum", "required", "type"):
            out[key] = value
        else:
            out[key] = _json_schema(value)
    if nullable and "type" in out:
        out["type"] = [out["type"], "null"]
    return out


def _prune(value: Any, schema: Object, path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, dict):
        known, rest = schema.get("properties") or {}, schema.get("additionalProperties")
        for name in list(value):
            where = f"{path}.{name}" if path else name
            if name in known:
                yield from _prune(value[name], known[name], where)
            elif isinstance(rest, dict):
                yield from _prune(value[name], rest, where)
            elif not rest and not (path == "" and name in ("apiVersion", "kind")):
                yield where
                del value[name]
    elif isinstance(value, list) and "items" in schema:
        for index, one in enumerate(value):
            yield from _prune(one, schema["items"], f"{path}[{index}]")


def _default(value: Any, schema: Object) -> None:
    if isinstance(value, dict):
        for name, inner in (schema.get("properties") or {}).items():
            if name not in value and "default" in inner:
                value[name] = deepcopy(inner["default"])
            if name in value:
                _default(value[name], inner)
        if isinstance(rest := schema.get("additionalProperties"), dict):
            for one in value.values():
                _default(one, rest)
    elif isinstance(value, list) and "items" in schema:
        for one in value:
            _default(one, schema["items"])


def _cel(found: Object, old: Object | None) -> Iterator[tuple[str, str]]:
    spec, before = found.get("spec") or {}, (old or {}).get("spec") or {}
    deletion = spec.get("deletionStrategy")
    if isinstance(deletion, dict):
        legacy = [name in deletion for name in ("onSuccess", "onFailure")]
        rules = "deletionRules" in deletion
        if any(legacy) and rules:
            yield "spec.deletionStrategy", "Invalid value: legacy policies and deletionRules cannot be used together"
        if not all(legacy) and not rules:
            yield "spec.deletionStrategy", "Invalid value: requires BOTH onSuccess and onFailure, OR deletionRules"
        for index, rule in enumerate(deletion.get("deletionRules") or ()):
            if sum(name in (rule.get("condition") or {}) for name in ("jobStatus", "jobDeploymentStatus")) != 1:
                yield f"spec.deletionStrategy.deletionRules[{index}].condition", "Invalid value: exactly one condition"
    if "managedBy" in spec and spec["managedBy"] not in _MANAGERS:
        yield "spec.managedBy", f"Invalid value: must be one of {_MANAGERS}"
    if old and before.get("managedBy") != spec.get("managedBy"):
        yield "spec.managedBy", "Invalid value: the managedBy field is immutable"
