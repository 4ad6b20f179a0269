"""What one deployment is: a YAML file, checked before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from udair_jobs.specs import StrictModel
from udair_platform.errors import SettingsError
from udair_platform.scheduler.launchers.kuberay.settings import KubeSettings
from udair_platform.settings import Settings

_HOST = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$"
_NAME = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_IMAGE = r"^[a-z0-9][a-z0-9._:/@-]*(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$"
# What a secret looks like, wherever it stands: better a false alarm than a key in a repository.
_SECRETS = {
    "a password in a URL": re.compile(r"://[^/\s:@]+:[^@\s]+@"),
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an API key": re.compile(r"\bak_[a-z0-9-]{4,64}\.[A-Za-z0-9_-]+"),
    "a webhook's secret": re.compile(r"\bwhsec_[A-Za-z0-9+/=]{8,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
_SECRET_NAMES = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|DATABASE_URL|PRIVATE_KEY)")

Quantity = Annotated[str, Field(pattern=_QUANTITY)]
Name = Annotated[str, Field(pattern=_NAME)]


class _Section(StrictModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # YAML's 1 for a quantity


class Resources(_Section):
    """CPUs and memory of a container; requests equal limits."""

    cpu: Quantity
    memory: Quantity


class Quota(Resources):
    """What all jobs of a namespace may take together."""

    gpus: int = Field(16, ge=0)


class Images(_Section):
    """Where the images are; a tag or, better, a digest is part of each."""

    platform: str = Field(pattern=_IMAGE, description="API and scheduler")
    worker: str = Field(pattern=_IMAGE, description="serving and jobs")
    pull_secrets: list[Name] = Field([], description="Secrets with the registry's credentials")


class Store(_Section):
    """The platform's own objects."""

    uri: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$", description="s3://bucket/prefix")
    endpoint_url: str | None = Field(None, pattern=r"^https?://", description="S3 endpoint, if not AWS")


class Replicas(_Section):
    """How many of a Deployment's pods there are."""

    replicas: int = Field(2, ge=1, le=20)


class Schedulers(_Section):
    """How many schedulers there are; one works, the others wait for its lease."""

    replicas: int = Field(2, ge=0, le=20, description="0: none, while the database is taken back to an older schema")


class Serving(_Section):
    """The data plane."""

    min_replicas: int = Field(1, ge=0, description="backbones that always run; 0: a request starts the first")
    max_replicas: int = Field(4, ge=1, description="most backbones; one worker pod each")
    gpus: int = Field(0, ge=0, le=8, description="of each backbone")
    resources: Resources = Resources(cpu="2", memory="6Gi")
    node_selector: dict[str, str] = Field({}, description="of the backbones")
    tolerations: list[dict[str, Any]] = Field([], description="of the backbones")
    runtime_class: str = Field("", description="runtimeClassName of the backbones, e.g. nvidia on k3s")
    head_fault_tolerance: bool = Field(False, description="a Redis keeps the head's state; Secret udair-redis")


class JobSettings(_Section):
    """Adaptation jobs."""

    max_concurrent: int = Field(4, ge=1, description="jobs under way at once")
    tenants: list[Name] = Field([], description="a namespace for each, instead of one for all")
    workers: int = Field(1, ge=0, description="of each job's cluster; 0 runs the job in its head")
    gpus: int = Field(0, ge=0, le=8)
    resources: Resources = Resources(cpu="2", memory="8Gi")
    on_spot: bool = Field(False, description="workers' nodes may be taken away")
    node_selector: dict[str, str] = Field({}, description="of the workers")
    tolerations: list[dict[str, Any]] = Field([], description="of the workers")
    runtime_class: str = Field("", description="runtimeClassName of pods with a GPU, e.g. nvidia on k3s")
    quota: Quota = Field(Quota(cpu="64", memory="256Gi"), description="of each namespace of jobs")
    env_secret: Name = Field("udair-s3", description="Secret that is the jobs' environment, unless they have a role")


class Namespaces(_Section):
    """Where the neighbours run: network policies let them in by the name of their namespace."""

    ingress: Name = Field("ingress-nginx", description="of the controller that answers the hosts")
    operator: Name = Field("kuberay-operator", description="of the KubeRay operator")
    monitoring: Name = Field("monitoring", description="of Prometheus")


class Gateway(_Section):
    """The way in by the Gateway API: a Gateway of our own by its class, or one that is there by its name."""

    class_name: Name | None = Field(None, description="gatewayClassName, as the controller's GatewayClass is called")
    name: Name | None = Field(None, description="a Gateway that is there, whose listeners take both hosts")
    namespace: Name | None = Field(None, description="of the Gateway that is there")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.class_name is None) == (self.name is None) or (self.name is None) != (self.namespace is None):
            raise ValueError("either class_name, or name and namespace")
        return self


class Roles(_Section):
    """Roles of a cloud for service accounts (IRSA), by ARN."""

    api: str | None = None
    scheduler: str | None = None
    serving: str | None = None
    job: str | None = None


class DeploySettings(_Section):
    """One deployment of the platform. Secrets are named, never written."""

    namespace: str = Field(
        "udair",
        pattern=r"^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$",
        description="of this platform, and its name on the cluster; jobs run in NAMESPACE-jobs or NAMESPACE-t-TENANT",
    )
    host: str = Field(pattern=_HOST, description="of the API and the console")
    serve_host: str = Field(pattern=_HOST, description="of the data plane")
    tls_secret: Name | None = Field(
        "udair-tls", description="certificate of both hosts; null: the controller's (ALB, ACM)"
    )
    gateway: Gateway | None = Field(None, description="the way in by the Gateway API")
    ingress_class: Name | None = Field(None, description="the way in by an Ingress of that class, instead")
    ingress_cidr: str | None = Field(
        None,
        pattern=r"^[0-9a-fA-F.:]+/\d{1,3}$",
        description="whence a load balancer outside the cluster comes (ALB: the VPC)",
    )
    ingress_annotations: dict[str, str] = Field({}, description="of the Ingress, over those that its class needs")
    images: Images
    store: Store
    base_uri: str = Field("packaged:base", description="the base model")
    gpu_resource: str = Field("nvidia.com/gpu", min_length=1, description="what the nodes call their GPUs")
    database: str = Field("external", pattern="^(external|embedded)$", description="embedded: one PostgreSQL, to try")
    database_secret: Name = Field("udair-database", description="Secret with the database's URL under url")
    api: Replicas = Replicas()
    scheduler: Schedulers = Schedulers()
    serving: Serving = Serving()
    jobs: JobSettings = JobSettings()
    roles: Roles = Roles()
    namespaces: Namespaces = Namespaces()
    storage_class: Name | None = Field(
        None, description="of every volume; none: the cluster's default, which must exist"
    )
    egress_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        [],
        description="ports besides 443 that pods may reach, e.g. of a proxy or a collector; the store's is let out anyway",
    )
    monitoring: bool = Field(False, description="needs the Prometheus operator's CRDs")
    settings: dict[str, str] = Field({}, description="other settings, UDAIR_* by name")
    secrets_version: str = Field("1", description="changed when a Secret has changed: every pod is started anew")

    @property
    def env_secret(self) -> str | None:
        """The Secret that becomes the environment of jobs; None where a role gives access."""
        return None if self.roles.job else self.jobs.env_secret

    @model_validator(mode="after")
    def _way_in(self) -> Self:
        if (self.gateway is None) == (self.ingress_class is None):
            raise ValueError("one way in is needed: gateway (the Gateway API), or ingress_class")
        if self.gateway and self.gateway.class_name and not self.tls_secret:
            raise ValueError("a Gateway of our own needs tls_secret, the certificate of its listeners")
        return self

    @model_validator(mode="after")
    def _room(self) -> Self:
        """Jobs that may run at once must fit into the quota, or some are refused by it for ever."""
        head, jobs = KubeSettings(image="x").head_resources, self.jobs
        for name, of_quota in (("cpu", jobs.quota.cpu), ("memory", jobs.quota.memory)):
            each = _amount(head[name]) + jobs.workers * _amount(getattr(jobs.resources, name))
            if jobs.max_concurrent * each > _amount(of_quota):
                fit = int(_amount(of_quota) // each)
                raise ValueError(
                    f"jobs.quota.{name} {of_quota} holds {fit} jobs of {jobs.workers} workers and a head; "
                    f"jobs.max_concurrent is {jobs.max_concurrent}: lower it, or raise the quota"
                )
        if jobs.gpus * max(jobs.workers, 1) * jobs.max_concurrent > jobs.quota.gpus:
            raise ValueError(
                f"jobs.quota.gpus {jobs.quota.gpus} is less than {jobs.max_concurrent} jobs of {jobs.workers} workers "
                f"with {jobs.gpus} GPUs take: lower jobs.max_concurrent, or raise the quota"
            )
        return self

    @field_validator("settings")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        known = {f"UDAIR_{name.upper()}" for name in Settings.model_fields}
        known |= {f"UDAIR_KUBE_{name.upper()}" for name in KubeSettings.model_fields}
        for name in value:
            if name not in known and not name.startswith(("AWS_REGION", "OTEL_")):
                raise ValueError(f"{name} is no setting; udair_platform/settings.py lists all")
            if _SECRET_NAMES.search(name) and not name.endswith(("_SECRET", "_PATH")):
                raise ValueError(f"{name} is a secret; it is read from a Secret of the cluster, never from here")
        return value


def _amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number."""
    factors = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number = quantity.rstrip("kmMGTi")
    return float(number) * factors.get(quantity[len(number) :], 1)


def load(path: Path) -> DeploySettings:
    """The deployment that the file describes.

    Raises:
        SettingsError: One line per fault: where, what was found, what was expected.
    """
    try:
        document = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        found = yaml.safe_load(document)
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {error}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds {type(found).__name__}; expected keys as in k8s/settings.example.yaml.")
    for where, kind in _secrets(found):
        raise SettingsError(f"{path}: {where} holds {kind}. Put it into a Secret of the cluster and name that instead.")
    try:
        return DeploySettings.model_validate(found)
    except ValidationError as error:
        lines = [f"{path}: {_where(item['loc'])} {_said(item)}" for item in error.errors()]
        raise SettingsError("\n".join(lines)) from None


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the file"


def _said(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "is no key of a deployment; k8s/settings.example.yaml shows them."
    if item["type"] == "missing":
        return "is missing."
    return f"has value {item['input']!r}; {item['msg'].removeprefix('Value error, ')}."


def _secrets(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _secrets(item, f"{where}.{number}")
    elif isinstance(value, str):
        for kind, pattern in _SECRETS.items():
            if pattern.search(value):
                yield where, kind
