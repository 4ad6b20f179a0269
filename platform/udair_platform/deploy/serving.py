"""The data plane's RayService from the settings of a deployment, and how a change of them reaches what serves.

What the Serve application reads is in its arguments: KubeRay gives them to the running cluster, and Serve replaces
replicas one after the other. What processes read from their environment is digested into their pods, and so is
`secrets_version`: a change of either is another cluster, which KubeRay builds beside the first.
"""

from __future__ import annotations

from typing import Any

import yaml

from udair_platform.deploy.manifests import Object, digest
from udair_platform.deploy.settings import DeploySettings

DIGEST = "udair/settings"
# Fields of udair_platform.settings.Settings that the Serve application reads; those of files and folders stay in the environment.
APPLIED_LIVE = (
    "base_uri",
    "drift_window_s",
    "log_format",
    "log_level",
    "metrics_names",
    "previous_signing_key_path",
    "s3_endpoint_url",
    "serve_gpus",
    "serve_hold_s",
    "serve_ingress_on_head",
    "serve_max_replicas",
    "serve_min_replicas",
    "serve_slots",
    "serve_threads",
    "store_endpoint_url",
    "store_uri",
)
_INGRESS = '"{\\"ingress\\": 100}"'  # quoted for a shell, as KubeRay wants it
_OF_PROCESSES = ("OTEL_", "AWS_")


def set_serving(service: Object, settings: DeploySettings, environment: dict[str, str]) -> None:
    """Make `service` what the settings say; `environment` is that of its pods."""
    cluster, serving = service["spec"]["rayClusterConfig"], settings.serving
    (group,) = cluster["workerGroupSpecs"]
    group |= {
        "replicas": serving.min_replicas,
        "minReplicas": serving.min_replicas,
        "maxReplicas": serving.max_replicas,
    }
    pod = group["template"]["spec"]
    amounts = serving.resources.model_dump() | ({settings.gpu_resource: str(serving.gpus)} if serving.gpus else {})
    pod["containers"][0]["resources"] = {"requests": dict(amounts), "limits": dict(amounts)}
    if serving.node_selector:
        pod["nodeSelector"] = serving.node_selector
    if serving.tolerations:
        pod["tolerations"] = serving.tolerations
    if serving.runtime_class:
        pod["runtimeClassName"] = serving.runtime_class
    if serving.head_fault_tolerance:
        password = {"valueFrom": {"secretKeyRef": {"name": "udair-redis", "key": "password"}}}
        cluster["gcsFaultToleranceOptions"] = {"redisAddress": "udair-redis:6379", "redisPassword": password}
    if serving.min_replicas == serving.max_replicas:
        # Nothing grows: no autoscaler, and nobody of the data plane speaks to the API server.
        cluster["enableInTreeAutoscaling"] = False
        cluster.pop("autoscalerOptions", None)
        cluster["headGroupSpec"]["template"]["spec"]["automountServiceAccountToken"] = False
    if not serving.min_replicas:
        # With no worker there is still somebody who holds the first request: an ingress beside the head.
        service["spec"]["excludeHeadPodFromServeSvc"] = False
        cluster["headGroupSpec"]["rayStartParams"]["resources"] = _INGRESS
    read_at_start = {name: value for name, value in environment.items() if name.startswith(_OF_PROCESSES)}
    for template in (cluster["headGroupSpec"]["template"], group["template"]):
        annotations = template["metadata"].setdefault("annotations", {})
        annotations[DIGEST] = digest([read_at_start, settings.secrets_version])
    service["spec"]["serveConfigV2"] = _with_arguments(service["spec"]["serveConfigV2"], environment)
    service["metadata"].setdefault("annotations", {})[DIGEST] = digest(service["spec"])


def _with_arguments(config: str, environment: dict[str, str]) -> str:
    found: Any = yaml.safe_load(config)
    (application,) = found["applications"]
    named = {name: environment.get(f"UDAIR_{name.upper()}") for name in APPLIED_LIVE}
    application["args"] = {name: value for name, value in named.items() if value is not None}
    return yaml.safe_dump(found, sort_keys=True, width=120)
