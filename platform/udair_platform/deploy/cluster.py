"""A cluster as `udair deploy` speaks to it: what is there, and server-side apply."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from udair_platform.errors import PlatformError
from udair_platform.kubernetes.answers import ApiRefused, KubernetesAway, Object
from udair_platform.kubernetes.api import KubeApi, Resource
from udair_platform.kubernetes.connection import connection_by

FIELD_MANAGER = "udair-deploy"
WANTED = {
    "ray.io": "KubeRay 1.7 (its CRDs, by `kubectl apply --server-side`, and its operator)",
    "monitoring.coreos.com": "the Prometheus operator's CRDs, or `monitoring: false`",
    "kueue.x-k8s.io": "Kueue 0.19",
    "gateway.networking.k8s.io": "the Gateway API 1.2 or later (its standard CRDs, and a controller of them)",
}
# What a server writes into every object.
_SERVER_SIDE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")


class ClusterError(PlatformError):
    """The cluster does not do what was asked; the message says why and what to do."""

    code, title = "CLUSTER_REFUSED", "The cluster does not do it"


class KindMissing(ClusterError):
    """The cluster has no such objects: what defines them is not installed."""


@dataclass(frozen=True)
class Applied:
    """What was done to one object: ``created``, ``changed``, ``unchanged``; ``deleted``, ``kept``, ``to be deleted``."""

    kind: str
    name: str
    namespace: str
    result: str


class Cluster:
    """A cluster by a kubeconfig, or by the account of the pod that this runs in.

    Args:
        kubeconfig, context: As kubectl takes them; KUBECONFIG and the current context if None.

    Raises:
        ClusterError: There is no way to a cluster.
    """

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        try:
            self._api = KubeApi(connection_by(kubeconfig, context, retries=2), FIELD_MANAGER)
        except KubernetesAway as error:
            raise ClusterError(f"{error.detail} Set KUBECONFIG, or pass --kubeconfig.") from error
        self.host = self._api.host

    def close(self) -> None:
        """Give the connections up."""
        self._api.close()

    def version(self) -> str:
        """The API server's version, e.g. ``v1.36.0``."""
        with _refusals("its version"):
            return self._api.version()

    def require(self, api_version: str, kind: str) -> None:
        """Raise KindMissing if the cluster has no such objects."""
        self._resource(api_version, kind)

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """One object as it is now, or None."""
        resource = self._resource(api_version, kind)
        with _refusals(f"{kind} {name}"):
            return self._api.get(resource, namespace, name)

    def find(self, api_version: str, kind: str, namespace: str | None, labels: str) -> list[Object]:
        """Objects with those labels; in all namespaces without one."""
        resource = self._resource(api_version, kind)
        with _refusals(f"{kind} of {namespace or 'all namespaces'}"):
            return self._api.find(resource, namespace, labels=labels)[0]

    def apply(self, item: Object, *, dry_run: bool = False, force: bool = False) -> tuple[Applied, Object]:
        """Make the fields of `item` true; fields that others own are a conflict, unless `force`.

        Raises:
            ClusterError: Of the schema, a permission, a conflict, or an object that cannot be changed so.
        """
        resource = self._resource(item["apiVersion"], item["kind"])
        name, namespace = item["metadata"]["name"], item["metadata"].get("namespace")
        before = self._before(item)
        with _refusals(f"{item['kind']} {name}"):
            after = self._api.apply(resource, item, dry_run=dry_run, force=force)
        same = before is not None and bare(before) == bare(after)
        result = "created" if before is None else "unchanged" if same else "changed"
        return Applied(item["kind"], name, namespace or "", result), after

    def apply_all(
        self,
        items: list[Object],
        *,
        force: bool = False,
        then: Callable[[Object], None] = lambda _: None,
    ) -> list[Applied]:
        """Apply `items` in their order; nothing is written if the server would refuse any of them.

        Args:
            then: Called with each object that has been applied; what it raises ends the apply there.

        Raises:
            ClusterError: Everything that is refused, object by object.
        """
        there = {
            None,
            *(item["metadata"]["name"] for item in items if item["kind"] == "Namespace" and self._before(item)),
        }
        refused = []
        for item in items:
            namespace = item["metadata"].get("namespace")
            if namespace not in there and self.get("v1", "Namespace", namespace) is None:
                self.require(item["apiVersion"], item["kind"])
                continue  # a server cannot try what lies in a namespace that is not there yet
            there.add(namespace)
            try:
                self.apply(item, dry_run=True, force=force)
            except ClusterError as error:
                refused.append(error.detail)
        if refused:
            raise ClusterError(f"Nothing was written. {' '.join(refused)}")
        done = []
        for item in items:
            one, after = self.apply(item, force=force)
            done.append(one)
            then(after)
        return done

    def delete(self, item: Object) -> None:
        """Delete that very object, and in the background what it owns."""
        resource, metadata = self._resource(item["apiVersion"], item["kind"]), item["metadata"]
        with _refusals(f"{item['kind']} {metadata['name']}"):
            self._api.delete(resource, metadata.get("namespace"), metadata["name"], uid=metadata["uid"])

    def diff(self, items: list[Object]) -> Iterator[str]:
        """What an apply of `items` would change, as unified diffs of YAML; nothing is changed."""
        for item in items:
            name, namespace = item["metadata"]["name"], item["metadata"].get("namespace")
            before = self._before(item)
            if before is None and namespace and self.get("v1", "Namespace", namespace) is None:
                after = item  # a server cannot try what lies in a namespace that is not there yet
            else:
                after = self.apply(item, dry_run=True, force=True)[1]
            label = "/".join(part for part in (namespace, item["kind"], name) if part)
            lines = difflib.unified_diff(
                _lines(before), _lines(after), f"live/{label}", f"settings/{label}", n=3, lineterm=""
            )
            yield from lines

    def _before(self, item: Object) -> Object | None:
        metadata = item["metadata"]
        return self.get(item["apiVersion"], item["kind"], metadata["name"], metadata.get("namespace"))

    def _resource(self, api_version: str, kind: str) -> Resource:
        with _refusals(f"{kind} of {api_version}"):
            found = self._api.resource(api_version, kind)
        if found is None:
            group = api_version.partition("/")[0]
            what = WANTED.get(group, f"what defines {api_version}")
            raise KindMissing(f"The cluster has no {kind} of {api_version}: install {what}.")
        return found


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except KubernetesAway as error:
        raise ClusterError(f"The cluster does not answer ({what}): {error.detail}") from error
    except ApiRefused as error:
        advice = {
            401: " The kubeconfig's credentials are stale.",
            403: " The account of the kubeconfig lacks that permission.",
            409: " --force-conflicts takes these fields over.",
        }.get(error.code, "")
        raise ClusterError(f"{what} is refused ({error.code}): {error.message[:600]}{advice}") from error


def bare(item: Object) -> Object:
    """`item` without what the server writes."""
    metadata = {name: value for name, value in item["metadata"].items() if name not in _SERVER_SIDE}
    return {name: value for name, value in item.items() if name not in ("status", "metadata")} | {"metadata": metadata}


def _lines(item: Object | None) -> list[str]:
    return [] if item is None else yaml.safe_dump(bare(item), sort_keys=True, width=120).splitlines()
