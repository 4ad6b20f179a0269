"""What one deployment is: a YAML file, checked before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator

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


class Serving(_Section):
    """The data plane."""

    min_replicas: int = Field(1, ge=1, description="backbones that always run")
    max_replicas: int = Field(4, ge=1, description="most backbones; one worker pod each")
    gpus: int = Field(0, ge=0, le=8, description="of each backbone")
    resources: Resources = Resources(cpu="2", memory="6Gi")
    node_selector: dict[str, str] = Field({}, description="of the backbones")
    tolerations: list[dict[str, Any]] = Field([], description="of the backbones")
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
    quota: Resources = Field(Resources(cpu="64", memory="256Gi"), description="of each namespace of jobs")
    env_secret: Name = Field("udair-s3", description="Secret that is the jobs' environment, unless they have a role")


class Roles(_Section):
    """Roles of a cloud for service accounts (IRSA), by ARN."""

    api: str | None = None
    scheduler: str | None = None
    serving: str | None = None
    job: str | None = None


class DeploySettings(_Section):
    """One deployment of the platform. Secrets are named, never written."""

    host: str = Field(pattern=_HOST, description="of the API and the console")
    serve_host: str = Field(pattern=_HOST, description="of the data plane")
    tls_secret: Name = Field("udair-tls", description="certificate of both hosts")
    ingress_class: str = Field("nginx", description="class of the Ingress")
    ingress_annotations: dict[str, str] = Field(default_factory=dict)
    images: Images
    store: Store
    base_uri: str = Field("packaged:base", description="the base model")
    database: str = Field("external", pattern="^(external|embedded)$", description="embedded: one PostgreSQL, to try")
    api: Replicas = Replicas()
    scheduler: Replicas = Replicas()
    serving: Serving = Serving()
    jobs: JobSettings = JobSettings()
    roles: Roles = Roles()
    monitoring: bool = Field(False, description="needs the Prometheus operator's CRDs")
    settings: dict[str, str] = Field({}, description="other settings, UDAIR_* by name")

    @property
    def env_secret(self) -> str | None:
        """The Secret that becomes the environment of jobs; None where a role gives access."""
        return None if self.roles.job else self.jobs.env_secret

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


def load(path: Path) -> DeploySettings:
    """The deployment that the file describes.

    Raises:
        SettingsError: One line per fault: where, what was found, what was expected.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        found = yaml.safe_load(text)
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
