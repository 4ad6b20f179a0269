"""The RayJob of one attempt: a pure function of settings and request, with no secret in it.

One Ray cluster per attempt, no retries of KubeRay's own (each would be a new cluster under the same
attempt), deadlines that hold when the control plane is gone, and deletion after the end. The head
reserves nothing where there are workers, so that the job lands on a worker: the head stays on an
on-demand node and workers may be on spot nodes.
"""

from __future__ import annotations

import hashlib
import math
import re
import shlex
from typing import Any

from udair_platform.scheduler.launcher import LaunchRequest
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings
from udair_platform.settings import Settings

API_VERSION, KIND = "ray.io/v1", "RayJob"
MANAGED_BY, INSTANCE = "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"
JOB, ATTEMPT, TENANT, SPOT = "udair/job", "udair/attempt", "udair/tenant", "udair/spot"
# KubeRay makes names of pods and services of it, and refuses a longer one.
MAX_NAME_CHARS = 47
KEPT_LONGER_S = 3600
# Of the operator's deadlines over ours: the control plane decides first, if there is one.
_SLACK_S = 120
# Ray keeps what a job prints in a file of its pod. Where the pod's first process is Ray's, it goes to the
# pod's log as well, and the copying process outlives the signal that stops the job.
_SHOWING = (
    "if tr '\\0' ' ' < /proc/1/cmdline | grep -q 'ray start'; then "
    "exec > >(trap '' TERM INT; exec tee -a /proc/1/fd/1) 2>&1; fi; exec \"$@\""
)
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")


def name_of(submission_id: str) -> str:
    """The RayJob's name; the id itself wherever that may be a name."""
    return _shortened(submission_id, MAX_NAME_CHARS)


def namespace_of(settings: KubeSettings, tenant: str) -> str:
    """Where the tenant's jobs run."""
    return _shortened(f"{settings.instance}-t-{tenant}", 63) if settings.namespace_per_tenant else settings.namespace


def selector(settings: KubeSettings, submission_id: str | None = None) -> str:
    """Label selector of everything that this platform launched, or of one attempt."""
    ours = f"{MANAGED_BY}=udair,{INSTANCE}={settings.instance}"
    return f"{ours},{ATTEMPT}={_shortened(submission_id, 63)}" if submission_id else ours


def labels_of(settings: KubeSettings, request: LaunchRequest) -> dict[str, str]:
    """What RayJob and pods of the attempt are found by."""
    return {
        MANAGED_BY: "udair",
        INSTANCE: settings.instance,
        JOB: _shortened(request.submission_id.rpartition("-")[0], 63),
        ATTEMPT: _shortened(request.submission_id, 63),
        TENANT: _shortened(request.tenant or "none", 63),
    }


def rayjob(platform: Settings, settings: KubeSettings, request: LaunchRequest) -> dict[str, Any]:
    """The RayJob that runs `request`, as it is applied."""
    labels = labels_of(settings, request)
    if settings.queue:
        labels["kueue.x-k8s.io/queue-name"] = settings.queue
    spec: dict[str, Any] = {
        "entrypoint": entrypoint(platform.job_python or "python", request),
        "jobId": request.submission_id,
        "submissionMode": settings.submission_mode,
        "backoffLimit": 0,
        "preRunningDeadlineSeconds": settings.start_timeout_s,
        "activeDeadlineSeconds": settings.start_timeout_s + math.ceil(platform.run_timeout_s) + _SLACK_S,
        "rayClusterSpec": cluster(platform, settings, labels_of(settings, request)),
        **_deletion(settings),
    }
    if platform.job_cpus:
        spec["entrypointNumCpus"] = platform.job_cpus
    if platform.job_gpus:
        spec["entrypointNumGpus"] = platform.job_gpus
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name_of(request.submission_id),
            "namespace": namespace_of(settings, request.tenant),
            "labels": labels,
        },
        "spec": spec,
    }


def entrypoint(python: str, request: LaunchRequest) -> str:
    """The shell command of the attempt, every word quoted; what it prints is in the pod's log too."""
    return shlex.join(["bash", "-c", _SHOWING, "udair", python, *request.arguments()])


def cluster(platform: Settings, settings: KubeSettings, labels: dict[str, str]) -> dict[str, Any]:
    """The Ray cluster of one attempt: a head and a fixed number of workers, with token authentication."""
    auth = {"mode": "token", **({"secretName": settings.ray_token_secret} if settings.ray_token_secret else {})}
    gpus = {settings.gpu_resource: str(math.ceil(platform.job_gpus))} if platform.job_gpus else {}
    head = pod(settings, "ray-head", settings.head_resources | ({} if settings.workers else gpus), labels)
    _place(head, settings.head_node_selector, settings.head_tolerations)
    body: dict[str, Any] = {
        "rayVersion": settings.ray_version,
        "authOptions": auth,
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0"} if settings.workers else {}, "template": head},
    }
    if settings.workers:
        spot = {SPOT: "true"} if settings.workers_on_spot else {}
        worker = pod(settings, "ray-worker", settings.worker_resources | gpus, labels | spot)
        _place(worker, settings.worker_node_selector, settings.worker_tolerations)
        body["workerGroupSpecs"] = [
            {
                "groupName": "workers",
                "replicas": settings.workers,
                "minReplicas": settings.workers,
                "maxReplicas": settings.workers,
                "rayStartParams": {},
                "template": worker,
            }
        ]
    return body


def pod(settings: KubeSettings, container: str, resources: dict[str, str], labels: dict[str, str]) -> dict[str, Any]:
    """A pod template that meets the Pod Security level ``restricted``.

    Requests equal limits, so that no neighbour's hunger ends a job; there is no token of the API server in it.
    """
    main: dict[str, Any] = {
        "name": container,
        "image": settings.image,
        "resources": {"requests": dict(resources), "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if settings.env:
        main["env"] = [{"name": name, "value": value} for name, value in sorted(settings.env.items())]
    if settings.env_secret:
        main["envFrom"] = [{"secretRef": {"name": settings.env_secret}}]
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.run_as_user,
            "fsGroup": settings.run_as_user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.priority_class:
        spec["priorityClassName"] = settings.priority_class
    if settings.runtime_class and settings.gpu_resource in resources:
        spec["runtimeClassName"] = settings.runtime_class
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    metadata: dict[str, Any] = {"labels": labels}
    if settings.annotations:
        metadata["annotations"] = dict(settings.annotations)
    return {"metadata": metadata, "spec": spec}


def _place(template: dict[str, Any], node_selector: dict[str, str], tolerations: list[dict[str, Any]]) -> None:
    if node_selector:
        template["spec"]["nodeSelector"] = dict(node_selector)
    if tolerations:
        template["spec"]["tolerations"] = [dict(toleration) for toleration in tolerations]


def _deletion(settings: KubeSettings) -> dict[str, Any]:
    if settings.queue:
        # KubeRay suspends only jobs with this way of deletion; the RayJob itself is swept by us.
        return {"suspend": True, "shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": settings.ttl_s}
    # No rule can name a stopped job (KubeRay 1.7 takes SUCCEEDED and FAILED): those are swept by us, see `held`.
    ended = ({"jobStatus": "SUCCEEDED"}, {"jobDeploymentStatus": "Failed"})
    stages = (("DeleteCluster", settings.ttl_s), ("DeleteSelf", settings.ttl_s + KEPT_LONGER_S))
    rules = [
        {"policy": policy, "condition": {**condition, "ttlSeconds": after_s}}
        for condition in ended
        for policy, after_s in stages
    ]
    return {"deletionStrategy": {"deletionRules": rules}}


def _shortened(name: str, most: int) -> str:
    if len(name) <= most and _NAME.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    kept = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[: most - 15].strip("-")
    return f"u-{kept}-{digest}" if kept else f"u-{digest}"
