"""The Python SDK: typed, and light: httpx and pydantic, nothing of the server.

from udair_platform.client import Client

client = Client()                                     # a profile, or UDAIR_URL and UDAIR_API_KEY
domain = client.domains.create("foggy-cams", "s3://acme/cams")
job = domain.adapt()
version = job.result(timeout_s=3600)                  # raises JobFailed or GateRejected
version.gallery().save("before-after.html")
version.promote(reason="looks right")
domain.restore("in.jpg").save("out.png")              # bytes, a path, PIL or NumPy in

`AsyncClient` has the same surface. Names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udair_platform.client.asynchronous.client import AsyncClient as AsyncClient
    from udair_platform.client.asynchronous.domains import AsyncDomain as AsyncDomain
    from udair_platform.client.asynchronous.jobs import AsyncJob as AsyncJob
    from udair_platform.client.asynchronous.versions import AsyncVersion as AsyncVersion
    from udair_platform.client.errors import ApiError as ApiError
    from udair_platform.client.errors import ClientError as ClientError
    from udair_platform.client.errors import Conflict as Conflict
    from udair_platform.client.errors import ConnectionFailed as ConnectionFailed
    from udair_platform.client.errors import Forbidden as Forbidden
    from udair_platform.client.errors import GateRejected as GateRejected
    from udair_platform.client.errors import InvalidRequest as InvalidRequest
    from udair_platform.client.errors import JobFailed as JobFailed
    from udair_platform.client.errors import NotFound as NotFound
    from udair_platform.client.errors import PlatformUnavailable as PlatformUnavailable
    from udair_platform.client.errors import Unauthorized as Unauthorized
    from udair_platform.client.errors import WaitTimeout as WaitTimeout
    from udair_platform.client.gallery import Gallery as Gallery
    from udair_platform.client.models import Alias as Alias
    from udair_platform.client.models import AliasChange as AliasChange
    from udair_platform.client.models import ApiKey as ApiKey
    from udair_platform.client.models import BaseModelInfo as BaseModelInfo
    from udair_platform.client.models import Drift as Drift
    from udair_platform.client.models import Event as Event
    from udair_platform.client.models import GateReport as GateReport
    from udair_platform.client.models import PlatformInfo as PlatformInfo
    from udair_platform.client.models import Route as Route
    from udair_platform.client.models import Snapshot as Snapshot
    from udair_platform.client.models import Usage as Usage
    from udair_platform.client.models import Webhook as Webhook
    from udair_platform.client.pictures import Restored as Restored
    from udair_platform.client.pictures import RestoreOptions as RestoreOptions
    from udair_platform.client.synchronous.client import Client as Client
    from udair_platform.client.synchronous.domains import Domain as Domain
    from udair_platform.client.synchronous.jobs import Job as Job
    from udair_platform.client.synchronous.versions import Version as Version

_WHERE = {
    "asynchronous.client": ("AsyncClient",),
    "asynchronous.domains": ("AsyncDomain",),
    "asynchronous.jobs": ("AsyncJob",),
    "asynchronous.versions": ("AsyncVersion",),
    "errors": (
        "ApiError",
        "ClientError",
        "Conflict",
        "ConnectionFailed",
        "Forbidden",
        "GateRejected",
        "InvalidRequest",
        "JobFailed",
        "NotFound",
        "PlatformUnavailable",
        "Unauthorized",
        "WaitTimeout",
    ),
    "gallery": ("Gallery",),
    "models": (
        "Alias",
        "AliasChange",
        "ApiKey",
        "BaseModelInfo",
        "Drift",
        "Event",
        "GateReport",
        "PlatformInfo",
        "Route",
        "Snapshot",
        "Usage",
        "Webhook",
    ),
    "pictures": ("RestoreOptions", "Restored"),
    "synchronous.client": ("Client",),
    "synchronous.domains": ("Domain",),
    "synchronous.jobs": ("Job",),
    "synchronous.versions": ("Version",),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
