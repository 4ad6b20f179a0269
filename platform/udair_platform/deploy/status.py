"""How a deployment is: a list of things that must be so, each with what is the matter if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from udair_platform.deploy.cluster import Cluster, ClusterError, KindMissing
from udair_platform.deploy.manifests import Manifests
from udair_platform.deploy.render import SYSTEM, job_namespaces
from udair_platform.deploy.settings import DeploySettings

OK, WAITING, FAILED = "ok", "waiting", "FAIL"
_WAITS = {"ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Item:
    """One thing: ``ok``; ``waiting``, which mends itself; or ``FAIL``, which does not."""

    check: str
    state: str
    message: str


def status(cluster: Cluster, settings: DeploySettings, made: Manifests) -> list[Item]:
    """The checklist of a deployment, in the order in which things depend on each other."""
    try:
        items = [Item("cluster", OK, f"{cluster.host}, Kubernetes {cluster.version()}")]
    except ClusterError as error:
        return [Item("cluster", FAILED, error.detail)]
    items += _definitions(cluster, made)
    for check in (
        _secrets(cluster, settings),
        _objects(cluster, made),
        _deployments(cluster, made),
        _ray(cluster),
        _ingress(cluster),
    ):
        try:
            items += check
        except ClusterError as error:
            items.append(Item("cluster", FAILED, error.detail))
    return items


def _definitions(cluster: Cluster, made: Manifests) -> Iterator[Item]:
    wanted = {("ray.io/v1", "RayJob")} | {
        (item["apiVersion"], item["kind"]) for item in made.objects if "." in item["apiVersion"]
    }
    for api_version, kind in sorted(wanted):
        if api_version.partition("/")[0].endswith(".k8s.io"):
            continue
        try:
            cluster.require(api_version, kind)
            yield Item(kind, OK, api_version)
        except ClusterError as error:
            yield Item(kind, FAILED, error.detail)


def secrets_of(settings: DeploySettings) -> dict[tuple[str, str], tuple[str, ...]]:
    """Secrets that the deployment reads, by namespace and name, with their keys; whoever deploys makes them."""
    s3, registry = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), (".dockerconfigjson",)
    system: dict[str, tuple[str, ...]] = {
        "udair-signing-key": ("signing.key",),
        "udair-database": ("url", "password") if settings.database == "embedded" else ("url",),
        settings.tls_secret: ("tls.crt", "tls.key"),
    }
    if settings.serving.head_fault_tolerance:
        system["udair-redis"] = ("password",)
    if settings.monitoring:
        system["udair-metrics"] = ("token",)
    if not settings.roles.api:
        system["udair-s3"] = s3
    system |= dict.fromkeys(settings.images.pull_secrets, registry)
    jobs: dict[str, tuple[str, ...]] = dict.fromkeys(settings.images.pull_secrets, registry)
    jobs |= {settings.env_secret: s3} if settings.env_secret else {}
    spaces = {SYSTEM: system} | dict.fromkeys(job_namespaces(settings), jobs)
    return {(space, name): keys for space, wanted in spaces.items() for name, keys in wanted.items()}


def _secrets(cluster: Cluster, settings: DeploySettings) -> Iterator[Item]:
    for (namespace, name), keys in secrets_of(settings).items():
        check = f"secret {namespace}/{name}"
        found = cluster.get("v1", "Secret", name, namespace)
        if found is None:
            yield Item(check, FAILED, f"is missing; it holds {', '.join(keys)} (docs/kubernetes.md)")
            continue
        missing = [key for key in keys if key not in (found.get("data") or {})]
        yield Item(check, FAILED if missing else OK, f"lacks {', '.join(missing)}" if missing else "is there")


def _objects(cluster: Cluster, made: Manifests) -> Iterator[Item]:
    missing = []
    for item in made.ordered():
        metadata = item["metadata"]
        try:
            found = cluster.get(item["apiVersion"], item["kind"], metadata["name"], metadata.get("namespace"))
        except KindMissing:
            found = None
        if found is None:
            missing.append(f"{item['kind']} {metadata['name']}")
    if missing:
        yield Item(
            "objects",
            FAILED,
            f"{len(missing)} of {len(made.objects)} are missing: {', '.join(missing[:5])}; udair deploy apply",
        )
    else:
        yield Item("objects", OK, f"all {len(made.objects)} are there")


def _deployments(cluster: Cluster, made: Manifests) -> Iterator[Item]:
    for wanted in made.of_kind("Deployment", "StatefulSet"):
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        found = cluster.get("apps/v1", kind, name, SYSTEM)
        if found is None:
            yield Item(name, FAILED, "is missing; udair deploy apply")
            continue
        replicas = found["spec"].get("replicas", 1)
        ready = (found.get("status") or {}).get("readyReplicas") or 0
        if ready >= replicas:
            yield Item(name, OK, f"{ready} of {replicas} ready")
            continue
        why = list(_pods(cluster, f"app.kubernetes.io/name={name}"))
        bad = [text for text, state in why if state == FAILED]
        message = f"{ready} of {replicas} ready" + "".join(f"; {text}" for text, _ in why[:3])
        yield Item(name, FAILED if bad else WAITING, message)


def _ray(cluster: Cluster) -> Iterator[Item]:
    try:
        found = cluster.get("ray.io/v1", "RayService", "udair", SYSTEM)
    except KindMissing:  # said already
        return
    if found is None:
        yield Item("serving", FAILED, "is missing; udair deploy apply")
        return
    reported = found.get("status") or {}
    if not reported:
        yield Item("serving", WAITING, "the KubeRay operator has not looked at it; does it run?")
        return
    conditions = {one["type"]: one for one in reported.get("conditions") or []}
    ready = conditions.get("Ready", {})
    applications = (reported.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    states = ", ".join(f"{name} {one.get('status')}" for name, one in sorted(applications.items()))
    endpoints = reported.get("numServeEndpoints") or 0
    if ready.get("status") == "True":
        yield Item("serving", OK, f"{endpoints} endpoints; {states or 'running'}")
        return
    why = list(_pods(cluster, "app.kubernetes.io/name=udair-serving"))
    bad = [text for text, state in why if state == FAILED] + [
        name for name, one in applications.items() if one.get("status") in ("DEPLOY_FAILED", "UNHEALTHY")
    ]
    message = [ready.get("message", ""), states, *(text for text, _ in why[:3])]
    yield Item("serving", FAILED if bad else WAITING, "; ".join(part for part in message if part) or "not ready yet")


def _ingress(cluster: Cluster) -> Iterator[Item]:
    found = cluster.get("networking.k8s.io/v1", "Ingress", "udair", SYSTEM)
    if found is None:
        yield Item("ingress", FAILED, "is missing; udair deploy apply")
        return
    given = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    addresses = [one.get("hostname") or one.get("ip") for one in given]
    yield Item("ingress", OK if addresses else WAITING, ", ".join(addresses) or "no controller has given it an address")


def _pods(cluster: Cluster, labels: str) -> Iterator[tuple[str, str]]:
    """Why pods are not ready, in words."""
    for pod in cluster.find("v1", "Pod", SYSTEM, labels):
        name, reported = pod["metadata"]["name"], pod.get("status") or {}
        for condition in reported.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"{name}: {condition.get('message', 'not scheduled')}", WAITING
        for container in reported.get("containerStatuses") or []:
            waiting = (container.get("state") or {}).get("waiting")
            if waiting:
                state = WAITING if waiting.get("reason") in _WAITS else FAILED
                yield f"{name}: {waiting.get('reason')} {waiting.get('message', '')}".strip(), state
