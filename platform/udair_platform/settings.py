"""What a process is told from outside: environment variables `UDAIR_*`, checked once at start.

Secrets are never settings: the signing key is a file that only its path names, S3 credentials and
the Ray token are read from the environment by the libraries that use them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from udair_platform.errors import SettingsError
from udair_platform.roles import Role

S = TypeVar("S", bound=BaseSettings)
_EXPECTED = {
    "database_url": "sqlite:////absolute/file.db or postgresql+psycopg://user@host/name",
    "store_uri": "s3://bucket/prefix, file:///absolute/folder or a folder",
    "launcher": "local, ray or kuberay",
    "api_port": "a port, 0 to 65535 (0 picks a free one)",
    "oidc_roles": f"provider's role=role of ours, comma-separated; ours are {', '.join(get_args(Role))}",
}


class Settings(BaseSettings):
    """Settings of the control plane; every field is `UDAIR_` + its name in upper case.

    Times are seconds. Unset paths and URIs are placed under `home`.
    """

    model_config = SettingsConfigDict(env_prefix="UDAIR_", extra="ignore", frozen=True)

    home: Path = Field(Path(".udair"), description="everything that must survive a restart is kept here")
    database_url: str = Field("", description="SQLAlchemy URL; default: control.db under home")
    store_uri: str = Field("", description="the platform's own objects; default: store/ under home")
    store_endpoint_url: str | None = Field(None, description="S3 endpoint of store_uri, if not AWS")
    s3_endpoint_url: str | None = Field(None, description="S3 endpoint of customers' buckets, if not AWS")
    allow_folders: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="folders, ':' between them, in which file:// domains may be: the API's users may read what is there",
    )
    allow_local_sources: bool = Field(False, description="accept file:// domains anywhere, as allow_folders=/ does")
    require_source_role: bool = Field(False, description="read tenants' buckets with roles of theirs only")
    signing_key_path: Path | None = Field(None, description="32 random bytes, mode 0600; made on first start")

    previous_signing_key_path: Path | None = Field(
        None, description="the signing key before this one, while the keys that it signed shall still be good"
    )

    launcher: Literal["local", "ray", "kuberay"] = Field(
        "local", description="what runs jobs; kuberay has settings of its own, UDAIR_KUBE_*"
    )
    ray_address: str = Field("http://127.0.0.1:8265", description="URL of the Ray dashboard (Jobs API)")
    job_cpus: float = Field(1.0, ge=0, description="CPUs that Ray reserves for a job; 0: none")
    job_gpus: float = Field(0.0, ge=0, description="GPUs that Ray reserves for a job")
    job_python: str = Field("", description="Python that runs jobs; default: this one (local) or 'python'")

    api_host: str = Field("127.0.0.1", description="address that the API listens at; put TLS in front of it")
    api_port: int = Field(8080, ge=0, le=65535, description="port of the API; 0 picks a free one")
    serve_url: str = Field("http://127.0.0.1:8000", description="where clients reach the data plane")
    serve_min_replicas: int = Field(1, ge=0, description="backbones that always run; 0: a request starts the first")
    serve_max_replicas: int = Field(1, ge=1, description="most backbones that autoscaling may run")
    serve_hold_s: float = Field(45.0, gt=0, description="how long a request is held while the first backbone starts")
    serve_ingress_on_head: bool = Field(
        False, description="ingresses run where Ray's resource `ingress` is: on a head that offers it"
    )
    serve_slots: int = Field(1024, ge=1, description="adapters resident in each backbone")
    serve_threads: int = Field(0, ge=0, description="CPU threads of a forward pass; 0 is torch's default")
    serve_gpus: float = Field(0.0, ge=0, description="GPUs of each backbone")
    drift_window_s: float = Field(3600.0, gt=0, description="length of a drift window")
    max_body_bytes: int = Field(2**20, ge=1024, description="largest body the control API reads")

    rate_limit_per_minute: int = Field(1200, ge=0, description="requests of one key; 0 is no limit")
    failed_auth_per_minute: int = Field(100, ge=0, description="refused keys of one address; 0 is no limit")
    metrics_public: bool = Field(False, description="answer /metrics without a key")
    metrics_names: bool = Field(
        False, description="name domains in the data plane's metrics, whose exporter asks for no key; else digests"
    )

    oidc_issuer: str | None = Field(None, description="OpenID provider whose tokens are good, as tokens name it")
    oidc_audience: str = Field("", validate_default=True, description="whom tokens must be for")
    oidc_jwks_url: str | None = Field(None, description="the provider's keys; default: by discovery")
    oidc_tenant_claim: str = Field("tenant", min_length=1, description="claim that names the tenant")
    oidc_roles_claim: str = Field("roles", min_length=1, description="claim that lists roles; dots go deeper")
    oidc_roles: Annotated[dict[str, Role], NoDecode] = Field(
        default_factory=lambda: {role: role for role in get_args(Role)}, description="the provider's role=ours,…"
    )

    price_per_job_hour: float = Field(
        0.0, ge=0, description="for the usage page and budgets of money; 0 shows hours only"
    )
    price_per_model_hour: float = Field(0.0, ge=0, description="the same, of an hour of restoring images")
    price_currency: str = Field("", max_length=8, description="written behind prices, e.g. EUR")

    gallery_images: int = Field(
        12, ge=0, le=1000, description="images of a domain that a job publishes before and after; 0 keeps none here"
    )
    base_uri: str = Field("packaged:base", description="bundle of the base model that this platform adapts")
    default_tenant: str = Field(
        "default", pattern=r"^[a-z][a-z0-9-]{2,62}$", description="tenant of the first admin key"
    )

    reconcile_interval_s: float = Field(1.0, gt=0, description="pause between two turns of the reconciler")
    lease_ttl_s: float = Field(15.0, gt=0, description="a silent reconciler loses its lease after this long")
    max_concurrent_jobs: int = Field(2, ge=1, description="jobs under way at once")
    tenant_max_concurrent_jobs: int = Field(0, ge=0, description="of each tenant; 0 is no limit but the platform's")
    tenant_max_queued_jobs: int = Field(1000, ge=0, description="unfinished jobs of each tenant; 0 is no limit")
    tenant_max_domains: int = Field(10_000, ge=0, description="domains of each tenant; 0 is no limit")
    max_attempts: int = Field(3, ge=1, description="attempts that faults of ours may spend on one job")
    heartbeat_timeout_s: float = Field(300.0, gt=0, description="a job that is silent for so long is tried again")
    pending_timeout_s: float = Field(86_400.0, gt=0, description="longest wait of a job for its start")
    run_timeout_s: float = Field(21_600.0, gt=0, description="longest run of one attempt")
    cancel_timeout_s: float = Field(60.0, gt=0, description="longest wait for a cancelled job to stop")
    approval_timeout_s: float = Field(
        30 * 86_400.0, gt=0, description="a version that the gate could not judge is rejected after this long"
    )

    served_weeks: int = Field(
        8, ge=1, le=1000, description="weeks for which figures of what was served are kept; by the hour after two days"
    )

    webhook_interval_s: float = Field(1.0, gt=0, description="pause between two turns of the webhooks")
    webhook_allow_private: bool = Field(False, description="webhooks may be http:// and in private networks")

    log_format: Literal["console", "json"] = Field("console", description="for people, or one JSON object a line")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not re.match(r"^(sqlite:///|postgresql(\+\w+)?://[^/]+/)", value):
            raise ValueError("not a database URL")
        return value

    @field_validator("oidc_issuer", "oidc_jwks_url")
    @classmethod
    def _trusted_url(cls, value: str | None) -> str | None:
        # Whoever could change what the provider answers could be anybody here. An issuer keeps its slash.
        if value and not re.match(r"^(https://[^/\s]+|http://(127\.0\.0\.1|localhost)[:/])", value):
            raise ValueError("expected https://host (http:// on this machine only)")
        return value or None

    @field_validator("oidc_audience")
    @classmethod
    def _audience_of_issuer(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("oidc_issuer") and not value:
            raise ValueError("whom tokens must be for, since UDAIR_OIDC_ISSUER is set")
        return value

    @field_validator("allow_folders", mode="before")
    @classmethod
    def _folder_list(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @field_validator("allow_folders")
    @classmethod
    def _absolute_folders(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        if not all(folder.is_absolute() for folder in value):
            raise ValueError("expected absolute folders, ':' between them")
        return value

    @field_validator("oidc_roles", mode="before")
    @classmethod
    def _role_pairs(cls, value: Any) -> Any:
        return dict(pair.strip().split("=", 1) for pair in value.split(",")) if isinstance(value, str) else value

    @field_validator("store_uri", "base_uri")
    @classmethod
    def _known_scheme(cls, value: str) -> str:
        if "://" in value and not value.startswith(("s3://", "file:///")):
            raise ValueError("not a store URI")
        return value

    @field_validator("store_endpoint_url", "s3_endpoint_url", "serve_url", "ray_address")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"^https?://[^/\s]+", value):
            raise ValueError("expected http://host:port or https://host")
        return value.rstrip("/") if value else value

    @model_validator(mode="before")
    @classmethod
    def _defaults_under_home(cls, values: dict[str, Any]) -> dict[str, Any]:
        home = Path(values.get("home") or ".udair").expanduser().absolute()
        values = {**values, "home": home}
        values["database_url"] = values.get("database_url") or f"sqlite:///{home / 'control.db'}"
        values["store_uri"] = values.get("store_uri") or str(home / "store")
        values["signing_key_path"] = values.get("signing_key_path") or home / "signing.key"
        return values

    @property
    def local_folders(self) -> tuple[Path, ...]:
        """Where domains may be folders of this machine."""
        return (Path("/"),) if self.allow_local_sources else self.allow_folders

    @property
    def signing_key_file(self) -> Path:
        """Where the signing key is."""
        assert self.signing_key_path is not None
        return self.signing_key_path


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, `overrides` first.

    Raises:
        SettingsError: One line per bad setting: its name, its value, and what was expected.
    """
    return load_checked(Settings, "UDAIR_", overrides)


def load_checked(kind: type[S], prefix: str, overrides: Mapping[str, Any]) -> S:
    """Settings of that kind, whose variables begin with `prefix`; `overrides` that are None are left out.

    Raises:
        SettingsError: One line per bad setting: its name, its value, and what was expected.
    """
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"]) or "settings"
            if item["type"] == "missing":
                lines.append(f"{prefix}{name.upper()} is not set; expected {kind.model_fields[name].description}.")
                continue
            expected = _EXPECTED.get(name) or item["msg"].removeprefix("Value error, ")
            value = _without_password(str(item["input"]))
            lines.append(f"{prefix}{name.upper()} has value {value!r}; expected {expected}.")
        raise SettingsError("\n".join(lines)) from None
    except PydanticSettingsError as error:  # a map or list that is no JSON
        raise SettingsError(f"{prefix}*: {error}; expected JSON.") from None


def _without_password(value: str) -> str:
    return re.sub(r"(//[^:/@\s]*):[^@\s]+@", r"\1:[redacted]@", value)
