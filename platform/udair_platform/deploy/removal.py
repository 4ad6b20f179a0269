"""What a deployment leaves behind: found by its labels, deleted when asked to, and never with what cannot be made again."""

from __future__ import annotations

from collections.abc import Iterator

from udair_platform.deploy.cluster import Applied, Cluster, KindMissing
from udair_platform.deploy.manifests import KINDS, Manifests, Object
from udair_platform.deploy.render import labels_of
from udair_platform.deploy.settings import DeploySettings
from udair_platform.scheduler.launchers.kuberay.rayjob import selector
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings

# With a namespace go its Secrets and volumes; with a StatefulSet goes who knows what is on them.
HOLDS_DATA = ("Namespace", "StatefulSet")
TO_BE_DELETED, DELETED, KEPT = "to be deleted", "deleted", "kept"


def prune(
    cluster: Cluster, settings: DeploySettings, made: Manifests, *, really: bool, with_data: bool
) -> list[Applied]:
    """Delete what carries the deployment's labels and is no longer rendered; only say so unless `really`."""
    wanted = made.keys()
    found = [item for item in _ours(cluster, settings) if _key(item) not in wanted]
    return _delete(cluster, found, really=really, with_data=with_data)


def delete(cluster: Cluster, settings: DeploySettings, *, really: bool, with_data: bool) -> list[Applied]:
    """Delete the deployment and the jobs that it runs; only say so unless `really`."""
    kube = KubeSettings(image=settings.images.worker, instance=settings.namespace)
    try:
        jobs = cluster.find("ray.io/v1", "RayJob", None, selector(kube))
    except KindMissing:
        jobs = []
    for job in jobs:
        job |= {"apiVersion": "ray.io/v1", "kind": "RayJob"}
    # The scheduler first, or it makes the jobs anew.
    ours = sorted(_ours(cluster, settings), key=lambda item: item["kind"] != "Deployment")
    deployments = [item for item in ours if item["kind"] == "Deployment"]
    return _delete(cluster, [*deployments, *jobs, *ours[len(deployments) :]], really=really, with_data=with_data)


def _ours(cluster: Cluster, settings: DeploySettings) -> Iterator[Object]:
    """Last applied first."""
    labels = ",".join(f"{name}={value}" for name, value in labels_of(settings).items())
    for kind, api_version in reversed(KINDS.items()):
        try:
            found = cluster.find(api_version, kind, None, labels)
        except KindMissing:
            continue
        # What an operator has made of ours, labels and all, goes with ours.
        yield from ({**item, "apiVersion": api_version, "kind": kind} for item in found if not _owned(item))


def _delete(cluster: Cluster, found: list[Object], *, really: bool, with_data: bool) -> list[Applied]:
    done = []
    for item in found:
        kind, namespace, name = _key(item)
        keep = kind in HOLDS_DATA and not with_data
        if really and not keep:
            cluster.delete(item)
        done.append(Applied(kind, name, namespace, KEPT if keep else DELETED if really else TO_BE_DELETED))
    return done


def _owned(item: Object) -> bool:
    return bool(item["metadata"].get("ownerReferences"))


def _key(item: Object) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]
