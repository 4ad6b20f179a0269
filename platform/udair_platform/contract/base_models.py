"""Base models, and the platform that has them."""

from __future__ import annotations

from datetime import datetime

from udair_platform.contract.value import Value


class BaseModelInfo(Value):
    """A base model."""

    name: str
    digest: str
    uri: str | None = None
    created_time: datetime | None = None


class PlatformInfo(Value):
    """What a client needs to know about the platform itself."""

    version: str
    serve_url: str
    tenant: str
    base_model: BaseModelInfo | None = None
