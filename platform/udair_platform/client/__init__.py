"""The Python SDK: typed, synchronous, and light: httpx and pydantic, nothing of the server.

from udair_platform.client import Client

client = Client()                                     # UDAIR_URL and UDAIR_API_KEY
domain = client.domains.create("foggy-cams", source_uri="s3://acme/cams")
job = domain.adapt()
version = job.result(timeout_s=3600)                  # raises JobFailed or GateRejected
domain.promote(version.number, reason="looks right")
image, headers = client.restore(open("in.jpg", "rb").read(), "foggy-cams")
"""

from __future__ import annotations

from udair_platform.client.async_client import AsyncClient
from udair_platform.client.client import Client, Restored, RestoreOptions
from udair_platform.client.errors import (
    ApiError,
    ClientError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    GateRejected,
    InvalidRequest,
    JobFailed,
    NotFound,
    PlatformUnavailable,
    Unauthorized,
    WaitTimeout,
)
from udair_platform.client.models import (
    Alias,
    AliasChange,
    ApiKey,
    BaseModelInfo,
    Event,
    GateReport,
    PlatformInfo,
    Route,
    Snapshot,
)
from udair_platform.client.resources import Domain, Job, Version

__all__ = [
    "Alias",
    "AliasChange",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "BaseModelInfo",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Domain",
    "Event",
    "Forbidden",
    "GateRejected",
    "GateReport",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "NotFound",
    "PlatformInfo",
    "PlatformUnavailable",
    "RestoreOptions",
    "Restored",
    "Route",
    "Snapshot",
    "Unauthorized",
    "Version",
    "WaitTimeout",
]
