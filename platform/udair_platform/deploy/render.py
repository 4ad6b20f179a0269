"""From the settings of a deployment to its manifests: offline, and the same every time."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import urlsplit

from udair_platform.deploy.entrance import set_entrance
from udair_platform.deploy.manifests import Manifests, Object, digest
from udair_platform.deploy.serving import DIGEST, set_serving
from udair_platform.deploy.settings import DeploySettings
from udair_platform.scheduler.launchers.kuberay.rayjob import namespace_of
from udair_platform.scheduler.launchers.kuberay.rules import LAUNCHER_RULES, WATCHED, Rule
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings

SYSTEM, JOBS = "udair", "udair-jobs"
GPU, NAMESPACE = "nvidia.com/gpu", "kubernetes.io/metadata.name"


def render(settings: DeploySettings) -> Manifests:
    """The deployment's objects."""
    components = ["components/postgres"] if settings.database == "embedded" else []
    components += ["components/monitoring"] if settings.monitoring else []
    components += ["components/head-fault-tolerance"] if settings.serving.head_fault_tolerance else []
    components += ["components/migration"]
    components += ["components/gateway"] if settings.gateway else []
    made = Manifests.read("base", *components)
    _settings(made, settings)
    _deployments(made, settings)
    set_entrance(made, settings)
    _quota(made, settings)
    _policies(made, settings)
    _volumes(made, settings)
    _roles(made, settings)
    if settings.jobs.tenants:
        _tenants(made, settings)
    _move(made, settings)
    _restart_on_change(made, settings)
    set_serving(made.get("RayService", "udair"), settings, made.get("ConfigMap", "udair-settings")["data"])
    for item in made.objects:
        item["metadata"].setdefault("labels", {}).update(labels_of(settings))
    return made


def labels_of(settings: DeploySettings) -> dict[str, str]:
    """What every object of this deployment is found by."""
    return {"app.kubernetes.io/managed-by": "udair-deploy", "app.kubernetes.io/instance": settings.namespace}


def job_namespaces(settings: DeploySettings) -> list[str]:
    """Where jobs run: one namespace for all, or one for each tenant."""
    kube = KubeSettings(image=settings.images.worker, namespace_per_tenant=True, instance=settings.namespace)
    return [namespace_of(kube, tenant) for tenant in settings.jobs.tenants] or [f"{settings.namespace}-jobs"]


def _settings(made: Manifests, settings: DeploySettings) -> None:
    common = made.get("ConfigMap", "udair-settings")["data"]
    common |= {
        "UDAIR_STORE_URI": settings.store.uri,
        "UDAIR_BASE_URI": settings.base_uri,
        "UDAIR_SERVE_URL": f"https://{settings.serve_host}",
        "UDAIR_SERVE_MIN_REPLICAS": str(settings.serving.min_replicas),
        "UDAIR_SERVE_MAX_REPLICAS": str(settings.serving.max_replicas),
        "UDAIR_SERVE_GPUS": str(settings.serving.gpus),
    }
    if not settings.serving.min_replicas:
        common["UDAIR_SERVE_INGRESS_ON_HEAD"] = "true"
    if settings.store.endpoint_url:
        # Stores other than AWS have no roles that a tenant could give us.
        common |= {
            "UDAIR_REQUIRE_SOURCE_ROLE": "false",
            "UDAIR_STORE_ENDPOINT_URL": settings.store.endpoint_url,
            "UDAIR_S3_ENDPOINT_URL": settings.store.endpoint_url,
        }
    jobs = settings.jobs
    scheduler = made.get("ConfigMap", "udair-scheduler")["data"]
    scheduler |= {
        "UDAIR_MAX_CONCURRENT_JOBS": str(jobs.max_concurrent),
        "UDAIR_JOB_GPUS": str(jobs.gpus),
        "UDAIR_KUBE_IMAGE": settings.images.worker,
        "UDAIR_KUBE_WORKERS": str(jobs.workers),
        "UDAIR_KUBE_WORKER_RESOURCES": _json(jobs.resources.model_dump()),
        "UDAIR_KUBE_WORKERS_ON_SPOT": str(jobs.on_spot).lower(),
        "UDAIR_KUBE_WORKER_NODE_SELECTOR": _json(jobs.node_selector),
        "UDAIR_KUBE_WORKER_TOLERATIONS": _json(jobs.tolerations),
        "UDAIR_KUBE_IMAGE_PULL_SECRETS": _json(settings.images.pull_secrets),
        "UDAIR_KUBE_NAMESPACE_PER_TENANT": str(bool(jobs.tenants)).lower(),
    }
    if settings.gpu_resource != GPU:
        scheduler["UDAIR_KUBE_GPU_RESOURCE"] = settings.gpu_resource
    if jobs.runtime_class:
        scheduler["UDAIR_KUBE_RUNTIME_CLASS"] = jobs.runtime_class
    if region := settings.settings.get("AWS_REGION"):
        # Pods of jobs read no ConfigMap; without it a bucket elsewhere than in us-east-1 is not found.
        scheduler["UDAIR_KUBE_ENV"] = _json({"AWS_REGION": region})
    if settings.env_secret:
        scheduler["UDAIR_KUBE_ENV_SECRET"] = settings.env_secret
    for name, value in settings.settings.items():
        (scheduler if name.startswith("UDAIR_KUBE_") else common)[name] = value


def _deployments(made: Manifests, settings: DeploySettings) -> None:
    for name, replicas in (("udair-api", settings.api), ("udair-scheduler", settings.scheduler)):
        spec = made.get("Deployment", name)["spec"]
        spec["replicas"] = replicas.replicas
        _image(spec["template"], settings.images.platform, settings)
    for owner in made.of_kind("Deployment", "Job", "StatefulSet"):
        for variable in owner["spec"]["template"]["spec"]["containers"][0].get("env") or ():
            secret = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if secret.get("name") == "udair-database":
                secret["name"] = settings.database_secret
    job = made.get("Job", "udair-migrate")
    _image(job["spec"]["template"], settings.images.platform, settings)
    # A Job cannot be changed: one that migrates for another version, or another database, is another one.
    job["metadata"]["name"] += f"-{digest([job['spec'], settings.secrets_version])[:10]}"
    cluster = made.get("RayService", "udair")["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        _image(group["template"], settings.images.worker, settings)


def _quota(made: Manifests, settings: DeploySettings) -> None:
    hard = made.get("ResourceQuota", "jobs", JOBS)["spec"]["hard"]
    quota = settings.jobs.quota
    amounts = {"cpu": quota.cpu, "memory": quota.memory}
    hard |= {f"{kind}.{name}": amount for kind in ("requests", "limits") for name, amount in amounts.items()}
    hard.pop(f"requests.{GPU}")
    hard[f"requests.{settings.gpu_resource}"] = str(quota.gpus)


def _policies(made: Manifests, settings: DeploySettings) -> None:
    """Let in who runs elsewhere than the manifests say, and out to what the settings name."""
    names = settings.namespaces
    elsewhere = {"ingress-nginx": names.ingress, "kuberay-operator": names.operator, "monitoring": names.monitoring}
    ports = [
        {"protocol": "TCP", "port": port} for port in sorted({443, *settings.egress_ports, *_store_ports(settings)})
    ]
    for policy in made.of_kind("NetworkPolicy"):
        inward, outward = (policy["spec"].get(way) or () for way in ("ingress", "egress"))
        for peer in [peer for rule in (*inward, *outward) for peer in rule.get("from") or rule.get("to") or ()]:
            labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
            if (there := labels.get(NAMESPACE)) in elsewhere:
                labels[NAMESPACE] = elsewhere[there]
            if there == "ingress-nginx" and settings.ingress_cidr:
                peer.clear()
                peer["ipBlock"] = {"cidr": settings.ingress_cidr}
        for rule in outward:
            anywhere = any(peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0" for peer in rule.get("to") or ())
            if anywhere and rule.get("ports") == [{"protocol": "TCP", "port": 443}]:
                rule["ports"] = ports


def _store_ports(settings: DeploySettings) -> set[int]:
    """Ports of the endpoints that the settings name."""
    named = [settings.store.endpoint_url, *settings.settings.values()]
    found = [urlsplit(url) for url in named if url and url.startswith(("http://", "https://"))]
    return {one.port or (443 if one.scheme == "https" else 80) for one in found}


def _volumes(made: Manifests, settings: DeploySettings) -> None:
    if settings.storage_class is None:
        return
    for owner in made.of_kind("StatefulSet"):
        for claim in owner["spec"].get("volumeClaimTemplates") or ():
            claim["spec"]["storageClassName"] = settings.storage_class


def _roles(made: Manifests, settings: DeploySettings) -> None:
    roles = settings.roles
    by_account = {
        "udair-api": roles.api,
        "udair-scheduler": roles.scheduler,
        "udair-serving": roles.serving,
        "udair-serving-head": roles.serving,
        "udair-job": roles.job,
    }
    for account in made.of_kind("ServiceAccount"):
        role = by_account.get(account["metadata"]["name"])
        if role:
            account["metadata"]["annotations"] = {"eks.amazonaws.com/role-arn": role}


def _tenants(made: Manifests, settings: DeploySettings) -> None:
    """A namespace of jobs for each tenant in place of the one for all, and a watch over all of them."""
    shared = [item for item in made.objects if item["metadata"].get("namespace") == JOBS]
    space = made.get("Namespace", JOBS)
    made.objects = [item for item in made.objects if item not in shared and item is not space]
    for tenant, namespace in zip(settings.jobs.tenants, job_namespaces(settings), strict=True):
        own = copy.deepcopy(space)
        own["metadata"] |= {"name": namespace, "labels": {**space["metadata"]["labels"], "udair/tenant": tenant}}
        made.objects.append(own)
        for item in shared:
            moved = copy.deepcopy(item)
            moved["metadata"]["namespace"] = namespace
            if moved["kind"] == "Role":
                moved["rules"] = _rules([rule for rule in LAUNCHER_RULES if rule not in WATCHED])
            made.objects.append(moved)
    role, binding = ({"name": "udair-launcher", "labels": {"app.kubernetes.io/part-of": "udair"}} for _ in range(2))
    group = "rbac.authorization.k8s.io"
    made.objects += [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": role, "rules": _rules(WATCHED)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": binding,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "udair-launcher"},
            "subjects": [{"kind": "ServiceAccount", "name": "udair-scheduler", "namespace": SYSTEM}],
        },
    ]


def _rules(rules: Any) -> list[Object]:
    def one(rule: Rule) -> Object:
        return {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": sorted(rule.verbs)}

    return [one(rule) for rule in rules]


def _image(template: Object, image: str, settings: DeploySettings) -> None:
    template["spec"]["containers"][0]["image"] = image
    if settings.images.pull_secrets:
        template["spec"]["imagePullSecrets"] = [{"name": name} for name in settings.images.pull_secrets]


def _move(made: Manifests, settings: DeploySettings) -> None:
    """From the namespaces of the manifests to those of this platform: a cluster may have several."""
    names = {SYSTEM: settings.namespace, JOBS: f"{settings.namespace}-jobs"}
    made.get("ConfigMap", "udair-scheduler")["data"] |= {
        "UDAIR_KUBE_NAMESPACE": names[JOBS],
        "UDAIR_KUBE_INSTANCE": settings.namespace,
    }
    for item in made.objects:
        kind, metadata = item["kind"], item["metadata"]
        if "namespace" in metadata:
            metadata["namespace"] = names.get(metadata["namespace"], metadata["namespace"])
        elif kind == "Namespace":
            metadata["name"] = names.get(metadata["name"], metadata["name"])
        else:  # of the whole cluster
            metadata["name"] = item["roleRef" if "roleRef" in item else "metadata"]["name"] = _own(metadata, settings)
        for subject in item.get("subjects", ()):
            subject["namespace"] = names[subject["namespace"]]
        if kind == "PodMonitor" and metadata["name"] == "udair-jobs":
            item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] = settings.namespace


def _own(metadata: Object, settings: DeploySettings) -> str:
    return f"{settings.namespace}-{metadata['name'].removeprefix('udair-')}"


def _restart_on_change(made: Manifests, settings: DeploySettings) -> None:
    """Pods read settings at their start: a change of them must be a change of the pods."""
    for deployment, maps in (
        ("udair-api", ("udair-settings",)),
        ("udair-scheduler", ("udair-settings", "udair-scheduler")),
    ):
        data = [made.get("ConfigMap", name)["data"] for name in maps]
        metadata = made.get("Deployment", deployment)["spec"]["template"]["metadata"]
        metadata.setdefault("annotations", {})[DIGEST] = digest([*data, settings.secrets_version])


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
