"""From the settings of a deployment to its manifests: offline, and the same every time."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from udair_platform.deploy.manifests import Manifests, Object
from udair_platform.deploy.settings import DeploySettings
from udair_platform.scheduler.launchers.kuberay.rayjob import namespace_of
from udair_platform.scheduler.launchers.kuberay.rules import LAUNCHER_RULES, WATCHED, Rule
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings

SYSTEM, JOBS = "udair", "udair-jobs"


def render(settings: DeploySettings) -> Manifests:
    """The deployment's objects."""
    components = ["components/postgres"] if settings.database == "embedded" else []
    components += ["components/monitoring"] if settings.monitoring else []
    components += ["components/head-fault-tolerance"] if settings.serving.head_fault_tolerance else []
    made = Manifests.read("base", *components)
    _settings(made, settings)
    _deployments(made, settings)
    _serving(made, settings)
    _ingress(made, settings)
    _quota(made, settings)
    _roles(made, settings)
    if settings.jobs.tenants:
        _tenants(made, settings)
    _restart_on_change(made)
    return made


def job_namespaces(settings: DeploySettings) -> list[str]:
    """Where jobs run: one namespace for all, or one for each tenant."""
    kube = KubeSettings(image=settings.images.worker, namespace_per_tenant=True)
    return [namespace_of(kube, tenant) for tenant in settings.jobs.tenants] or [JOBS]


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
    if settings.store.endpoint_url:
        common |= {
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
    if settings.env_secret:
        scheduler["UDAIR_KUBE_ENV_SECRET"] = settings.env_secret
    for name, value in settings.settings.items():
        (scheduler if name.startswith("UDAIR_KUBE_") else common)[name] = value


def _deployments(made: Manifests, settings: DeploySettings) -> None:
    for name, replicas in (("udair-api", settings.api), ("udair-scheduler", settings.scheduler)):
        spec = made.get("Deployment", name)["spec"]
        spec["replicas"] = replicas.replicas
        _image(spec["template"], settings.images.platform, settings)


def _serving(made: Manifests, settings: DeploySettings) -> None:
    service = made.get("RayService", "udair")["spec"]
    cluster, serving = service["rayClusterConfig"], settings.serving
    _image(cluster["headGroupSpec"]["template"], settings.images.worker, settings)
    (group,) = cluster["workerGroupSpecs"]
    _image(group["template"], settings.images.worker, settings)
    group |= {
        "replicas": serving.min_replicas,
        "minReplicas": serving.min_replicas,
        "maxReplicas": serving.max_replicas,
    }
    pod = group["template"]["spec"]
    amounts = serving.resources.model_dump() | ({"nvidia.com/gpu": str(serving.gpus)} if serving.gpus else {})
    pod["containers"][0]["resources"] = {"requests": dict(amounts), "limits": dict(amounts)}
    if serving.node_selector:
        pod["nodeSelector"] = serving.node_selector
    if serving.tolerations:
        pod["tolerations"] = serving.tolerations
    if serving.head_fault_tolerance:
        password = {"valueFrom": {"secretKeyRef": {"name": "udair-redis", "key": "password"}}}
        cluster["gcsFaultToleranceOptions"] = {"redisAddress": "udair-redis:6379", "redisPassword": password}
    if serving.min_replicas == serving.max_replicas:
        # Nothing grows: no autoscaler, and nobody of the data plane speaks to the API server.
        cluster["enableInTreeAutoscaling"] = False
        cluster.pop("autoscalerOptions", None)
        cluster["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] = False


def _ingress(made: Manifests, settings: DeploySettings) -> None:
    ingress = made.get("Ingress", "udair")
    if settings.ingress_annotations:
        ingress["metadata"]["annotations"] = settings.ingress_annotations
    spec = ingress["spec"]
    spec["ingressClassName"] = settings.ingress_class
    spec["tls"] = [{"hosts": [settings.host, settings.serve_host], "secretName": settings.tls_secret}]
    for rule, host in zip(spec["rules"], (settings.host, settings.serve_host), strict=True):
        rule["host"] = host


def _quota(made: Manifests, settings: DeploySettings) -> None:
    hard = made.get("ResourceQuota", "jobs", JOBS)["spec"]["hard"]
    quota = settings.jobs.quota
    hard |= {f"{kind}.{name}": amount for kind in ("requests", "limits") for name, amount in quota.model_dump().items()}


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
    everywhere = {"name": "udair-launcher", "labels": {"app.kubernetes.io/part-of": "udair"}}
    group = "rbac.authorization.k8s.io"
    made.objects += [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": everywhere, "rules": _rules(WATCHED)},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": everywhere,
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


def _restart_on_change(made: Manifests) -> None:
    """Pods read settings at their start: a change of them must be a change of the pods."""
    for deployment, maps in (
        ("udair-api", ("udair-settings",)),
        ("udair-scheduler", ("udair-settings", "udair-scheduler")),
    ):
        data = [made.get("ConfigMap", name)["data"] for name in maps]
        digest = hashlib.sha256(_json(data).encode()).hexdigest()[:16]
        metadata = made.get("Deployment", deployment)["spec"]["template"]["metadata"]
        metadata.setdefault("annotations", {})["udair/settings"] = digest


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
