"""The objects of a Kubernetes API server: versions, history for watches, finalizers, owners, namespaces.

One lock over everything. What a real cluster's controllers do a moment later (deleting what a deleted
object owned, emptying a namespace) is done at once.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime

from kubernetes_apply import note_update
from kubernetes_schema import Definition
from kubernetes_status import Object, exists, invalid, not_found, stale, terminating

CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
NAMESPACES = ("", "namespaces")


@dataclass(frozen=True)
class Kind:
    """One resource that the server knows."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    definition: Definition | None = None

    @property
    def of(self) -> tuple[str, str]:
        """Group and plural: what objects are kept under."""
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        """As objects say it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def schema(self) -> Object:
        """Of its fields; empty for built-in kinds, which are not validated here."""
        return self.definition.schema if self.definition else {}


@dataclass(frozen=True)
class Change:
    """One entry of the history."""

    version: int
    of: tuple[str, str]
    type: str
    object: Object
    before: Object | None


_RBAC = "rbac.authorization.k8s.io"
BUILT_IN = [
    Kind("", "v1", "namespaces", "Namespace", False),
    *(
        Kind("", "v1", plural, kind)
        for plural, kind in (
            ("pods", "Pod"),
            ("events", "Event"),
            ("configmaps", "ConfigMap"),
            ("secrets", "Secret"),
            ("services", "Service"),
            ("serviceaccounts", "ServiceAccount"),
            ("resourcequotas", "ResourceQuota"),
            ("persistentvolumeclaims", "PersistentVolumeClaim"),
            ("limitranges", "LimitRange"),
        )
    ),
    Kind("apps", "v1", "deployments", "Deployment"),
    Kind("apps", "v1", "statefulsets", "StatefulSet"),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("batch", "v1", "cronjobs", "CronJob"),
    Kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    Kind("networking.k8s.io", "v1", "ingresses", "Ingress"),
    Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", False),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", False),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False),
]
Key = tuple[tuple[str, str], str, str]


class Store:
    """All objects and their history. Every method may raise StatusError."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.history: deque[Change] = deque()
        self.compacted = self.version
        self._objects: dict[Key, Object] = {}
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in BUILT_IN}
        for name in ("default", "kube-system"):
            self.create(self._kinds["", "v1", "namespaces"], {"metadata": {"name": name}}, manager="server")

    def kind(self, group: str, version: str, plural: str) -> Kind | None:
        """The resource, if it is served."""
        return self._kinds.get((group, version, plural))

    def kinds(self) -> list[Kind]:
        """Every resource that is served."""
        return sorted(self._kinds.values(), key=lambda kind: (kind.group, kind.version, kind.plural))

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """A copy of the object, or None."""
        with self.changed:
            return deepcopy(self._objects.get((kind.of, namespace, name)))

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """A copy of the object, or 404."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.group, kind.plural, name)
        return found

    def all(self, of: tuple[str, str], namespace: str = "") -> list[Object]:
        """Copies of all objects of a kind, in one namespace or all."""
        with self.changed:
            return [
                deepcopy(one)
                for (kind, within, _), one in sorted(self._objects.items())
                if kind == of and (not namespace or within == namespace)
            ]

    def create(self, kind: Kind, body: Object, *, manager: str, dry_run: bool = False) -> Object:
        """A new object."""
        with self.changed:
            meta = body["metadata"]
            namespace, name = meta.get("namespace", ""), meta["name"]
            if self.find(kind, namespace, name):
                raise exists(kind.group, kind.plural, name)
            if kind.namespaced:
                self._check_namespace(kind, namespace, name)
            new = {**deepcopy(body), "apiVersion": kind.api_version, "kind": kind.kind}
            new["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1}
            if kind.definition and kind.definition.has_status:
                new.pop("status", None)
            if kind.of == NAMESPACES:
                new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
                new |= {"status": {"phase": "Active"}, "spec": {"finalizers": ["kubernetes"]}}
            if kind.of == CRDS:
                new["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
            if "managedFields" not in new["metadata"]:
                note_update(None, new, kind.schema, manager=manager)
            if not dry_run:
                self._put(kind, "ADDED", new, None)
                if kind.of == CRDS:
                    self._serve(new)
            return deepcopy(new)

    def update(
        self,
        kind: Kind,
        body: Object,
        *,
        manager: str | None,
        subresource: str = "",
        dry_run: bool = False,
        merged: bool = False,
    ) -> Object:
        """Replace an object, or only its status; `manager` None: managedFields are in `body`; `merged`: a patch."""
        with self.changed:
            meta = body["metadata"]
            old = self.get(kind, meta.get("namespace", ""), meta["name"])
            if kind.definition and manager is not None and not meta.get("resourceVersion") and not merged:
                text = "Invalid value: 0: must be specified for an update"
                raise invalid(kind.kind, kind.group, meta["name"], [("metadata.resourceVersion", text)])
            if meta.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
                raise stale(kind.group, kind.plural, meta["name"])
            if meta.get("uid") not in (None, "", old["metadata"]["uid"]):
                raise stale(kind.group, kind.plural, meta["name"])
            new = deepcopy(body)
            if subresource == "status":
                new = {**deepcopy(old), "status": new.get("status", {})}
                new["metadata"]["managedFields"] = meta.get("managedFields") or old["metadata"].get("managedFields", [])
            elif kind.definition and kind.definition.has_status:
                new.pop("status", None)
                if "status" in old:
                    new["status"] = deepcopy(old["status"])
            new |= {"apiVersion": kind.api_version, "kind": kind.kind}
            for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "resourceVersion"):
                if key in old["metadata"]:
                    new["metadata"][key] = old["metadata"][key]
            if manager is not None:
                note_update(old, new, kind.schema, manager=manager, subresource=subresource)
            if new == old:
                return old
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            if dry_run:
                return new
            if "deletionTimestamp" in new["metadata"] and not new["metadata"].get("finalizers"):
                self._remove(kind, new)
            else:
                self._put(kind, "MODIFIED", new, old)
            return deepcopy(new)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        orphan: bool = False,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object and what it owns; with finalizers, mark it."""
        with self.changed:
            old = self.get(kind, namespace, name)
            if uid is not None and uid != old["metadata"]["uid"]:
                raise stale(kind.group, kind.plural, name)
            if dry_run:
                return old
            new = deepcopy(old)
            if kind.of == NAMESPACES:
                new["status"] = {"phase": "Terminating"}
                new["metadata"].setdefault("deletionTimestamp", _now())
                self._put(kind, "MODIFIED", new, old)
                for (of, within, inner), _ in list(self._objects.items()):
                    if within == name and (of, within, inner) in self._objects:
                        self.delete(self._kind_of(of), within, inner)
                self._finish_namespace(name)
            elif new["metadata"].get("finalizers"):
                if "deletionTimestamp" not in new["metadata"]:
                    new["metadata"] |= {"deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
                    self._put(kind, "MODIFIED", new, old)
            else:
                self._remove(kind, new, orphan=orphan)
            return deepcopy(new)

    def compact(self) -> None:
        """Forget the history: whoever goes on watching from before is answered 410."""
        with self.changed:
            self.version += 1
            self.history.clear()
            self.compacted = self.version
            self.changed.notify_all()

    def since(self, version: int, of: tuple[str, str]) -> list[Change]:
        """What happened to objects of a kind after `version`."""
        with self.changed:
            return [one for one in self.history if one.version > version and one.of == of]

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self._objects.get((NAMESPACES, "", namespace))
        if found is None:
            raise not_found("", "namespaces", namespace)
        if found["status"]["phase"] == "Terminating":
            raise terminating(kind.group, kind.plural, name, namespace)

    def _put(self, kind: Kind, change: str, new: Object, old: Object | None) -> None:
        self.version += 1
        new["metadata"]["resourceVersion"] = str(self.version)
        self._objects[kind.of, new["metadata"].get("namespace", ""), new["metadata"]["name"]] = deepcopy(new)
        self._record(kind, change, new, old)

    def _record(self, kind: Kind, change: str, new: Object, old: Object | None) -> None:
        self.history.append(Change(self.version, kind.of, change, deepcopy(new), old))
        self.changed.notify_all()

    def _remove(self, kind: Kind, old: Object, *, orphan: bool = False) -> None:
        meta = old["metadata"]
        key = (kind.of, meta.get("namespace", ""), meta["name"])
        if self._objects.pop(key, None) is None:
            return
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self._record(kind, "DELETED", old, old)
        if not orphan:
            for of, within, name in list(self._owned_by(meta["uid"])):
                self.delete(self._kind_of(of), within, name)
        if kind.of == CRDS:
            self._unserve(old)
        if kind.namespaced:
            self._finish_namespace(meta["namespace"])

    def _owned_by(self, uid: str) -> Iterator[Key]:
        for key, one in list(self._objects.items()):
            if any(owner["uid"] == uid for owner in one["metadata"].get("ownerReferences") or ()):
                yield key

    def _finish_namespace(self, name: str) -> None:
        found = self._objects.get((NAMESPACES, "", name))
        if found is None or found["status"]["phase"] != "Terminating":
            return
        if not any(within == name for _, within, _ in self._objects):
            self._remove(self._kind_of(NAMESPACES), deepcopy(found))

    def _kind_of(self, of: tuple[str, str]) -> Kind:
        return next(kind for kind in self._kinds.values() if kind.of == of)

    def _serve(self, crd: Object) -> None:
        for version in crd["spec"]["versions"]:
            if version["served"]:
                made = Definition(crd, version["name"])
                kind = Kind(made.group, made.version, made.plural, made.kind, True, made)
                self._kinds[kind.group, kind.version, kind.plural] = kind

    def _unserve(self, crd: Object) -> None:
        of = (crd["spec"]["group"], crd["spec"]["names"]["plural"])
        for kind, within, name in list(self._objects):
            if kind == of:
                del self._objects[kind, within, name]
        self._kinds = {key: kind for key, kind in self._kinds.items() if kind.of != of}


def matches(labels: Callable[[Object], bool], one: Object | None) -> bool:
    """Whether there is an object and the selector takes it."""
    return one is not None and labels(one)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
