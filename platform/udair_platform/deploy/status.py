"""How a deployment is: a list of things that must be so, each with what is the matter if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from udair_platform.deploy.cluster import WANTED, Cluster, ClusterError, KindMissing
from udair_platform.deploy.manifests import Manifests, Object
from udair_platform.deploy.render import job_namespaces
from udair_platform.deploy.serving import DIGEST
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
        _migration(cluster, made),
        _deployments(cluster, settings, made),
        _operator(cluster, settings),
        _ray(cluster, settings, made),
        _entrance(cluster, settings),
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
        if api_version.partition("/")[0] not in WANTED:
            continue  # of Kubernetes itself
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
        settings.database_secret: ("url", "password") if settings.database == "embedded" else ("url",),
    }
    if settings.tls_secret and not (settings.gateway and settings.gateway.name):  # that Gateway has its own
        system[settings.tls_secret] = ("tls.crt", "tls.key")
    if settings.serving.head_fault_tolerance:
        system["udair-redis"] = ("password",)
    if settings.monitoring:
        system["udair-metrics"] = ("token",)
    if not settings.roles.api:
        system["udair-s3"] = s3
    system |= dict.fromkeys(settings.images.pull_secrets, registry)
    jobs: dict[str, tuple[str, ...]] = dict.fromkeys(settings.images.pull_secrets, registry)
    jobs |= {settings.env_secret: s3} if settings.env_secret else {}
    spaces = {settings.namespace: system} | dict.fromkeys(job_namespaces(settings), jobs)
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


def _migration(cluster: Cluster, made: Manifests) -> Iterator[Item]:
    for job in made.of_kind("Job"):
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        found = cluster.get("batch/v1", "Job", name, namespace) or {}
        ended = {one["type"] for one in (found.get("status") or {}).get("conditions") or () if one["status"] == "True"}
        why = [cause for cause, _ in why_pods_wait(cluster, namespace, f"batch.kubernetes.io/job-name={name}")]
        if "Failed" in ended:
            yield Item("database", FAILED, f"{name} has failed: kubectl -n {namespace} logs job/{name}")
        elif "Complete" in ended:
            yield Item("database", OK, "has the schema of this version")
        else:
            yield Item("database", WAITING, "; ".join(why) or f"{name} has not ended")


def _deployments(cluster: Cluster, settings: DeploySettings, made: Manifests) -> Iterator[Item]:
    for wanted in made.of_kind("Deployment", "StatefulSet"):
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        found = cluster.get("apps/v1", kind, name, settings.namespace)
        if found is None:
            yield Item(name, FAILED, "is missing; udair deploy apply")
            continue
        replicas = found["spec"].get("replicas", 1)
        ready = (found.get("status") or {}).get("readyReplicas") or 0
        if ready >= replicas:
            yield Item(name, OK, f"{ready} of {replicas} ready")
            continue
        why = [
            *why_pods_wait(cluster, settings.namespace, f"app.kubernetes.io/name={name}"),
            *_claims(cluster, settings.namespace, name),
        ]
        bad = [cause for cause, state in why if state == FAILED]
        message = f"{ready} of {replicas} ready" + "".join(f"; {cause}" for cause, _ in why[:3])
        yield Item(name, FAILED if bad else WAITING, message)


def _operator(cluster: Cluster, settings: DeploySettings) -> Iterator[Item]:
    """Network policies admit the operator by its namespace: from another one it is locked out of every Ray cluster."""
    namespace = settings.namespaces.operator
    if cluster.find("apps/v1", "Deployment", namespace, "app.kubernetes.io/name=kuberay-operator"):
        yield Item("KubeRay operator", OK, f"in namespace {namespace}")
    else:
        message = f"is not in namespace {namespace}, from where network policies admit it; set namespaces.operator"
        yield Item("KubeRay operator", FAILED, message)


def _ray(cluster: Cluster, settings: DeploySettings, made: Manifests) -> Iterator[Item]:
    try:
        found = cluster.get("ray.io/v1", "RayService", "udair", settings.namespace)
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
    else:
        why = list(why_pods_wait(cluster, settings.namespace, "app.kubernetes.io/name=udair-serving"))
        bad = [cause for cause, state in why if state == FAILED] + [
            name for name, one in applications.items() if one.get("status") in ("DEPLOY_FAILED", "UNHEALTHY")
        ]
        message = [ready.get("message", ""), states, *(cause for cause, _ in why[:3])]
        yield Item(
            "serving", FAILED if bad else WAITING, "; ".join(part for part in message if part) or "not ready yet"
        )
    yield Item("serving settings", *_generation(found, made))


def _generation(found: Object, made: Manifests) -> tuple[str, str]:
    """Which generation of the RayService serves, and whether it is that of the settings."""
    reported, generation = found.get("status") or {}, found["metadata"].get("generation")
    active, pending = (
        (reported.get(f"{which}ServiceStatus") or {}).get("rayClusterName") for which in ("active", "pending")
    )
    of_file = made.get("RayService", "udair")["metadata"]["annotations"][DIGEST]
    if (found["metadata"].get("annotations") or {}).get(DIGEST) != of_file:
        return FAILED, f"generation {generation} is of other settings than these; udair deploy apply"
    if (observed := reported.get("observedGeneration") or 0) < (generation or 0):
        # KubeRay 1.7 writes it down only together with something else that has changed.
        return WAITING, f"generation {generation} is applied; the operator has last reported on {observed}"
    if pending:
        return WAITING, f"generation {generation} is being built as {pending}; {active or 'nothing'} serves"
    deployed = (reported.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    if any(one.get("status") != "RUNNING" for one in deployed.values()):
        return WAITING, f"generation {generation} is being deployed on {active}"
    return OK, f"generation {generation} serves, on {active}"


def _entrance(cluster: Cluster, settings: DeploySettings) -> Iterator[Item]:
    if settings.gateway is None:
        found = cluster.get("networking.k8s.io/v1", "Ingress", "udair", settings.namespace)
        if found is None:
            yield Item("ingress", FAILED, "is missing; udair deploy apply")
            return
        given = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        addresses = [one.get("hostname") or one.get("ip") for one in given]
        yield Item(
            "ingress", OK if addresses else WAITING, ", ".join(addresses) or "no controller has given it an address"
        )
        return
    try:
        for name in ("udair-api", "udair-restore"):
            yield _route(cluster, settings.namespace, name)
    except KindMissing:  # said already
        return


def _route(cluster: Cluster, namespace: str, name: str) -> Item:
    found = cluster.get("gateway.networking.k8s.io/v1", "HTTPRoute", name, namespace)
    check = f"route {name}"
    if found is None:
        return Item(check, FAILED, "is missing; udair deploy apply")
    parents = (found.get("status") or {}).get("parents") or []
    if not parents:
        return Item(check, WAITING, "no controller has looked at it; is there a GatewayClass of that name?")
    said = [one for parent in parents for one in parent.get("conditions") or []]
    bad = [f"{one.get('reason')}: {one.get('message', '')}" for one in said if one.get("status") == "False"]
    return Item(check, FAILED if bad else OK, "; ".join(bad) or "accepted")


def _claims(cluster: Cluster, namespace: str, name: str) -> Iterator[tuple[str, str]]:
    """Why volumes are not there, in words."""
    for claim in cluster.find("v1", "PersistentVolumeClaim", namespace, f"app.kubernetes.io/name={name}"):
        if (claim.get("status") or {}).get("phase") != "Pending":
            continue
        wanted = claim["spec"].get("storageClassName")
        why = f"of class {wanted}" if wanted else "without a class: the cluster has no default one; set storage_class"
        yield f"volume {claim['metadata']['name']} is pending, {why}", WAITING if wanted else FAILED


def why_pods_wait(cluster: Cluster, namespace: str, labels: str) -> Iterator[tuple[str, str]]:
    """Why pods are not ready, in words."""
    for pod in cluster.find("v1", "Pod", namespace, labels):
        name, reported = pod["metadata"]["name"], pod.get("status") or {}
        for condition in reported.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield f"{name}: {condition.get('message', 'not scheduled')}", WAITING
        for container in reported.get("containerStatuses") or []:
            waiting = (container.get("state") or {}).get("waiting")
            if waiting:
                state = WAITING if waiting.get("reason") in _WAITS else FAILED
                yield f"{name}: {waiting.get('reason')} {waiting.get('message', '')}".strip(), state
