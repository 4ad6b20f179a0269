"""URL paths of the Kubernetes double: which resource, namespace, object and subresource they name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from kubernetes_store import Kind, Store


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
