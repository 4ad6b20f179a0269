"""URL paths of the Kubernetes double: which resource, namespace, object and subresource they name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from kubernetes_status import Object
from kubernetes_store import Kind, Store

_VERBS = ("create", "delete", "get", "list", "patch", "update", "watch")


class NoSuchPath(Exception):
    """Nothing is served there: 404 without a Status."""


@dataclass(frozen=True)
class Target:
    """What a URL names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def resource(self) -> str:
        """As RBAC names it."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


def target_of(store: Store, path: str) -> Target:
    """What `path` names among what is served."""
    words = [unquote(word) for word in path.strip("/").split("/")]
    if words[0] == "api" and len(words) > 2:
        group, version, rest = "", words[1], words[2:]
    elif words[0] == "apis" and len(words) > 3:
        group, version, rest = words[1], words[2], words[3:]
    else:
        raise NoSuchPath
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    kind = store.kind(group, version, rest[0])
    if kind is None:
        raise NoSuchPath
    return Target(kind, namespace, rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else "")


def discovery(store: Store, path: str) -> Object | None:
    """What kubectl asks before anything else: versions, groups and resources; None if `path` is none of these."""
    words = path.strip("/").split("/")
    kinds = store.kinds()
    if words == ["version"]:
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.0-double"}
    if words == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    if words == ["apis"]:
        groups: dict[str, list[str]] = {}
        for kind in kinds:
            if kind.group and kind.version not in groups.setdefault(kind.group, []):
                groups[kind.group].append(kind.version)
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in groups.items()]}
    if words[0] == "api" and len(words) == 2:
        group, version = "", words[1]
    elif words[0] == "apis" and len(words) == 3:
        group, version = words[1], words[2]
    else:
        return None
    resources = []
    for kind in kinds:
        if (kind.group, kind.version) == (group, version):
            made = {
                "name": kind.plural,
                "singularName": kind.kind.lower(),
                "namespaced": kind.namespaced,
                "kind": kind.kind,
            }
            resources.append({**made, "verbs": [*_VERBS]})
            resources.append({**made, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]})
    if not resources:
        raise NoSuchPath
    of = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": of, "resources": resources}


def _group(name: str, versions: list[str]) -> Object:
    served = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": served, "preferredVersion": served[0]}
