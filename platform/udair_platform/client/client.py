"""The client itself: where the platform is, and the ways into it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from udair_platform.client.errors import ClientError
from udair_platform.client.models import ApiKey, BaseModelInfo, Event, PlatformInfo
from udair_platform.client.resources import Domain, Job
from udair_platform.client.transport import Transport

CLIENT_FILE = "client.json"
FORMATS = {
    "png": "image/png", "png16": "image/png;depth=16", "jpeg": "image/jpeg", "webp": "image/webp", "tiff": "image/tiff",
}  # fmt: skip
_NAME = re.compile(r"^[A-Za-z0-9@-]{1,64}$")


class Restored(NamedTuple):
    """A restored image and the reply's headers (lower case names)."""

    image: bytes
    headers: dict[str, str]

    @property
    def version(self) -> str | None:
        """The adapter version that made it."""
        return self.headers.get("x-adapter-version")


@dataclass(frozen=True)
class RestoreOptions:
    """How an image is restored and handed back.

    Attributes:
        format: ``png``, ``png16`` (16 bits a channel), ``jpeg``, ``webp`` or ``tiff``.
        quality: Of JPEG and WebP, 1 to 100.
        key: Requests with the same key meet the same version while a canary runs.
        test_time: Also adapt to this one image.
        content_type: Of the image that is sent; guessed from its first bytes if None.
    """

    format: str = "png"
    quality: int = 95
    key: str = ""
    test_time: bool = False
    content_type: str | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ClientError(f"format is {self.format!r}; expected one of {', '.join(FORMATS)}.")

    def headers(self, image: bytes) -> dict[str, str]:
        """The request's headers."""
        headers = {"Content-Type": self.content_type or media_type(image), "Accept": FORMATS[self.format]}
        return headers | ({"X-Routing-Key": self.key} if self.key else {})

    def params(self) -> dict[str, str]:
        """The request's query."""
        return {"quality": str(self.quality)} | ({"test_time": "true"} if self.test_time else {})


class Client:
    """A connection to one platform, as one key's bearer.

    Args:
        url: The control API; default UDAIR_URL.
        api_key: Default UDAIR_API_KEY.
        home: A platform's home folder; its client.json is read instead of the environment.
        timeout_s: Longest wait for one answer, seconds.

    Raises:
        ClientError: It is nowhere said where the platform is.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        home: str | Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        url, api_key = connection(url, api_key, home)
        self._transport = Transport(url, api_key, timeout_s=timeout_s)
        self._serve_url: str | None = None
        self.url = url
        self.domains = Domains(self._transport)
        self.jobs = Jobs(self._transport)
        self.keys = Keys(self._transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def platform(self) -> PlatformInfo:
        """Version, data-plane URL, tenant and base model."""
        return PlatformInfo.model_validate(self._transport.json("GET", "/v1/platform"))

    def base_models(self) -> list[BaseModelInfo]:
        """Base models, the current one last."""
        page = self._transport.json("GET", "/v1/baseModels")
        return [BaseModelInfo.model_validate(item) for item in page["base_models"]]

    def events(self, *, domain: str | None = None) -> Iterator[Event]:
        """The audit log, oldest first."""
        params = {"domain": domain} if domain else {}
        return map(Event.model_validate, self._transport.pages("/v1/events", "events", params=params))

    def restore(self, image: bytes, domain: str, *, timeout_s: float = 300.0, **options: Any) -> Restored:
        """Restore one encoded image by what serves `domain` now.

        Args:
            image: PNG, JPEG, WebP, TIFF or BMP.
            options: Of `RestoreOptions`: format, quality, key, test_time, content_type.

        Raises:
            InvalidRequest: The data plane cannot read the image, or refuses its size.
            NotFound: There is no such domain.
            PlatformUnavailable: The data plane cannot answer now.
        """
        if self._serve_url is None:
            self._serve_url = self.platform().serve_url.rstrip("/")
        chosen = RestoreOptions(**options)
        response = self._transport.send(
            "POST",
            f"{self._serve_url}{restore_path(domain)}",
            content=image,
            headers=chosen.headers(image),
            params=chosen.params(),
            timeout=timeout_s,
            repeat=True,  # restoring twice restores the same
        )
        return Restored(response.content, dict(response.headers))


class Domains:
    """Domains of the key's tenant."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        source_uri: str,
        *,
        gate: str | dict[str, Any] | None = None,
        description: str = "",
        idempotency_key: str | None = None,
    ) -> Domain:
        """Register a domain.

        Args:
            source_uri: ``s3://bucket/prefix`` of its unlabelled images.
            gate: ``standard``, ``strict``, or the rules as a dictionary.
        """
        rules = {"policy": gate} if isinstance(gate, str) else gate or {}
        body = {"name": name, "source_uri": source_uri, "gate": rules, "description": description}
        data = self._transport.json("POST", "/v1/domains", body=body, idempotency_key=idempotency_key)
        return Domain.of(self._transport, data)

    def get(self, name: str) -> Domain:
        """One domain. Raises NotFound."""
        return Domain.of(self._transport, self._transport.json("GET", f"/v1/domains/{_checked(name)}"))

    def list(self) -> Iterator[Domain]:
        """Domains, oldest first."""
        pages = self._transport.pages("/v1/domains", "domains")
        return (Domain.of(self._transport, item) for item in pages)


class Jobs:
    """Jobs of all the domains that the key reaches."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, id: str) -> Job:
        """One job. Raises NotFound."""
        return Job.of(self._transport, self._transport.json("GET", f"/v1/domains/-/jobs/{_checked(id)}"))

    def list(self, *, limit: int | None = None) -> Iterator[Job]:
        """Jobs, newest first."""
        pages = self._transport.pages("/v1/domains/-/jobs", "jobs", limit=limit)
        return (Job.of(self._transport, item) for item in pages)


class Keys:
    """API keys of the tenant; for admins."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        scopes: Sequence[str] | None = None,
        *,
        role: str | None = None,
        domains: Sequence[str] | None = None,
        expires_time: datetime | None = None,
    ) -> ApiKey:
        """A new key; its `token` is shown this once.

        Args:
            scopes: What it may do; either these or `role`.
            role: ``viewer``, ``operator``, ``approver`` or ``admin``.
        """
        body = {
            "name": name,
            "role": role,
            "scopes": None if scopes is None else [*scopes],
            "domains": None if domains is None else [*domains],
            "expires_time": None if expires_time is None else expires_time.isoformat(),
        }
        return ApiKey.model_validate(self._transport.json("POST", "/v1/apiKeys", body=body))

    def list(self) -> Iterator[ApiKey]:
        """Keys, revoked ones too."""
        return map(ApiKey.model_validate, self._transport.pages("/v1/apiKeys", "keys"))

    def rotate(self, kid: str, *, grace_s: int = 0) -> ApiKey:
        """A new key that says the same; the old one stays good for `grace_s` seconds. Raises Conflict."""
        path = f"/v1/apiKeys/{_checked(kid)}:rotate"
        return ApiKey.model_validate(self._transport.json("POST", path, body={"grace_s": grace_s}))

    def revoke(self, kid: str) -> ApiKey:
        """Take a key back."""
        return ApiKey.model_validate(self._transport.json("POST", f"/v1/apiKeys/{_checked(kid)}:revoke"))


def media_type(image: bytes) -> str:
    """The media type of an encoded image, by its first bytes."""
    for start, kind in ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"BM", "image/bmp")):
        if image.startswith(start):
            return kind
    if image[:4] in (b"II*\0", b"MM\0*"):
        return "image/tiff"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def restore_path(domain: str) -> str:
    """Where a domain's images are sent.

    Raises:
        ClientError: It is no domain's name.
    """
    return f"/v1/domains/{_checked(domain)}:restore"


def connection(url: str | None, api_key: str | None, home: str | Path | None) -> tuple[str, str]:
    """The control API's URL and a key: as given, from a platform's home, or from the environment.

    Raises:
        ClientError: It is nowhere said where the platform is.
    """
    # A URL and a key from one place: the key of one platform is not sent to another.
    found: dict[str, Any] = {"url": os.environ.get("UDAIR_URL"), "api_key": os.environ.get("UDAIR_API_KEY")}
    missing = "UDAIR_URL and UDAIR_API_KEY are not set"
    if home is not None:
        path = Path(home) / CLIENT_FILE
        missing = f"{path} does not exist"
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            found = {}
        except (OSError, ValueError) as error:
            raise ClientError(f"{path} cannot be read: {error}. `udair up` writes it again.") from None
    url, api_key = url or found.get("url"), api_key or found.get("api_key")
    if not url or not api_key:
        raise ClientError(f"It is not known where the platform is: {missing}. Start one with `udair up`.")
    return url, api_key


def _checked(name: str) -> str:
    # A name goes into a path: one that holds a slash or a dot would name another route.
    if not _NAME.match(name):
        raise ClientError(f"{name!r} is no name; expected letters, digits and '-'.")
    return name
