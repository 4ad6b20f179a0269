"""What the KubeRay launcher is told from outside: environment variables `UDAIR_KUBE_*`.

Credentials are never settings: a job's pods get them from the Secret that `env_secret` names or from
the role of their service account; the launcher's own are those of its kubeconfig or its pod.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from udair_platform.settings import load_checked

KUBERAY_VERSION = "1.7.0"
# A job that is moved begins its phase anew: neither Karpenter nor the cluster autoscaler may empty its node.
KEEP_RUNNING = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
_PREFIX = "UDAIR_KUBE_"
_NAMESPACE = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
_QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")


class KubeSettings(BaseSettings):
    """Settings of the KubeRay launcher; every field is `UDAIR_KUBE_` + its name in upper case.

    Maps and lists are JSON. How many CPUs and GPUs a job reserves, its Python and its deadlines are
    the platform's settings: `job_cpus`, `job_gpus`, `job_python`, `run_timeout_s`.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="ignore", frozen=True)

    image: str = Field(min_length=1, description="image of head and workers: Ray of ray_version, with udair_jobs")
    kubeconfig: Path | None = Field(None, description="default: KUBECONFIG, or the pod's own account")
    context: str | None = Field(None, description="context of the kubeconfig; default: its current one")
    namespace: str = Field("udair", pattern=_NAMESPACE, description="where jobs run, unless tenants have their own")
    namespace_per_tenant: bool = Field(False, description="jobs run in INSTANCE-t-TENANT; whoever deploys makes those")
    instance: str = Field(
        "udair", min_length=1, pattern=_LABEL_VALUE, description="this platform's name, where several share a cluster"
    )

    ray_version: str = Field("2.60.0", pattern=r"^\d+\.\d+\.\d+$", description="Ray in the image; 2.52 or later")
    submission_mode: Literal["HTTPMode", "SidecarMode"] = Field(
        "HTTPMode", description="SidecarMode's submitter does not meet the Pod Security level restricted"
    )
    workers: int = Field(1, ge=0, le=1000, description="0: the job runs in the head pod")
    head_resources: dict[str, str] = Field(
        default_factory=lambda: {"cpu": "1", "memory": "4Gi"}, description="requests and limits of the head"
    )
    worker_resources: dict[str, str] = Field(
        default_factory=lambda: {"cpu": "2", "memory": "8Gi"}, description="requests and limits of each worker"
    )
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="what the nodes call their GPUs")
    head_node_selector: dict[str, str] = Field(default_factory=dict, description="on-demand nodes")
    worker_node_selector: dict[str, str] = Field(default_factory=dict, description="spot nodes, for example")
    head_tolerations: list[dict[str, Any]] = Field(default_factory=list, description="of the head")
    worker_tolerations: list[dict[str, Any]] = Field(default_factory=list, description="of spot nodes, for example")
    workers_on_spot: bool = Field(False, description="workers' nodes may be taken away: losing one spends no attempt")
    annotations: dict[str, str] = Field(
        default_factory=lambda: dict(KEEP_RUNNING),
        description="of the pods; the default keeps nodes from being emptied",
    )
    runtime_class: str = Field("", description="runtimeClassName of pods with a GPU, e.g. nvidia")
    priority_class: str = Field("", description="priorityClassName of the pods")
    queue: str = Field("", pattern=_LABEL_VALUE, description="Kueue's LocalQueue; jobs then start suspended")

    service_account: str = Field("", description="of the pods; its role may give access to S3 (IRSA)")
    env: dict[str, str] = Field(default_factory=dict, description="environment of the job, e.g. AWS_REGION; no secrets")
    env_secret: str = Field("", description="Secret whose keys become environment variables of the job")
    image_pull_secrets: list[str] = Field(default_factory=list, description="of the registry that has the image")
    ray_token_secret: str = Field(
        "", description="Secret with the Ray token under auth_token; default: one per cluster"
    )
    run_as_user: int = Field(1000, ge=1, description="uid of the pods' processes")

    start_timeout_s: int = Field(1800, ge=1, description="a cluster that is not up after this long is given up")
    ttl_s: int = Field(600, ge=0, description="an ended job's cluster is kept for so long; its RayJob for an hour more")

    @field_validator("head_resources", "worker_resources")
    @classmethod
    def _requests(cls, value: dict[str, str]) -> dict[str, str]:
        for name in ("cpu", "memory"):
            if name not in value:
                raise ValueError(f"cpu and memory, at least; {name} is missing")
        for name, quantity in value.items():
            if not _QUANTITY.match(quantity):
                raise ValueError(f"quantities like 500m, 2 or 8Gi; {name} is {quantity!r}")
        return value

    @field_validator("ray_version")
    @classmethod
    def _has_tokens(cls, value: str) -> str:
        if tuple(map(int, value.split("."))) < (2, 52, 0):
            raise ValueError("2.52.0 or later: earlier ones have no token authentication")
        return value


def load_kube_settings(**overrides: Any) -> KubeSettings:
    """Settings from the environment, `overrides` first.

    Raises:
        SettingsError: One line per bad setting: its name, its value, and what was expected.
    """
    return load_checked(KubeSettings, _PREFIX, overrides)
