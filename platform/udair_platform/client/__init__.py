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
    from udair_platform.client.pictures import Restored as Restored
    from udair_platform.client.pictures import RestoreOptions as RestoreOptions
    from udair_platform.client.signed_history import SignedHistory as SignedHistory
    from udair_platform.client.synchronous.client import Client as Client
    from udair_platform.client.synchronous.domains import Domain as Domain
    from udair_platform.client.synchronous.jobs import Job as Job
    from udair_platform.client.synchronous.versions import Version as Version
    from udair_platform.contract.aliases import Alias as Alias
    from udair_platform.contract.aliases import AliasChange as AliasChange
    from udair_platform.contract.attention import Concern as Concern
    from udair_platform.contract.base_models import BaseModelInfo as BaseModelInfo
    from udair_platform.contract.base_models import PlatformInfo as PlatformInfo
    from udair_platform.contract.budgets import BudgetStatus as BudgetStatus
    from udair_platform.contract.domains import Route as Route
    from udair_platform.contract.events import Event as Event
    from udair_platform.contract.keys import ApiKey as ApiKey
    from udair_platform.contract.keys import LoginLink as LoginLink
    from udair_platform.contract.keys import NewApiKey as NewApiKey
    from udair_platform.contract.receipts import Receipt as Receipt
    from udair_platform.contract.receipts import ReceiptCheck as ReceiptCheck
    from udair_platform.contract.serving_history import HistoryCheck as HistoryCheck
    from udair_platform.contract.serving_history import ServedHistory as ServedHistory
    from udair_platform.contract.snapshots import Snapshot as Snapshot
    from udair_platform.contract.usage import Drift as Drift
    from udair_platform.contract.usage import Usage as Usage
    from udair_platform.contract.versions import GateReport as GateReport
    from udair_platform.contract.webhooks import SignedWebhook as SignedWebhook
    from udair_platform.contract.webhooks import Webhook as Webhook

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
    "pictures": ("RestoreOptions", "Restored"),
    "signed_history": ("SignedHistory",),
    "synchronous.client": ("Client",),
    "synchronous.domains": ("Domain",),
    "synchronous.jobs": ("Job",),
    "synchronous.versions": ("Version",),
}
_CONTRACT = {
    "aliases": (
        "Alias",
        "AliasChange",
    ),
    "attention": ("Concern",),
    "base_models": (
        "BaseModelInfo",
        "PlatformInfo",
    ),
    "budgets": ("BudgetStatus",),
    "domains": ("Route",),
    "events": ("Event",),
    "keys": (
        "ApiKey",
        "LoginLink",
        "NewApiKey",
    ),
    "receipts": (
        "Receipt",
        "ReceiptCheck",
    ),
    "serving_history": (
        "HistoryCheck",
        "ServedHistory",
    ),
    "snapshots": ("Snapshot",),
    "usage": (
        "Drift",
        "Usage",
    ),
    "versions": ("GateReport",),
    "webhooks": (
        "Webhook",
        "SignedWebhook",
    ),
}
_MODULE_OF = {name: f"udair_platform.client.{module}" for module, names in _WHERE.items() for name in names}
_MODULE_OF |= {name: f"udair_platform.contract.{module}" for module, names in _CONTRACT.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
