"""What base models, keys, events and the platform itself look like in replies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from udair_platform.entities.api_key import ApiKey
from udair_platform.entities.event import Event
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.roles import role_of


class BaseView(BaseModel):
    """A base model."""

    name: str
    digest: str
    uri: str | None = None
    created_time: datetime | None = None

    @classmethod
    def of(cls, base: RegisteredModel) -> BaseView:
        """The view of `base`."""
        return cls(name=base.name, digest=base.digest, uri=base.uri, created_time=base.created_time)


class PlatformView(BaseModel):
    """What a client needs to know about the platform itself."""

    version: str
    serve_url: str
    tenant: str
    base_model: BaseView | None


class KeyView(BaseModel):
    """What is known of a key. A `revoked_time` to come ends the grace after a rotation."""

    kid: str
    name: str
    role: str | None
    scopes: list[str]
    domains: list[str] | None
    created_time: datetime
    expires_time: datetime | None
    revoked_time: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> KeyView:
        """The view of `key`."""
        return cls(**_key_fields(key))


class KeyCreated(KeyView):
    """A new key with its token, which is shown this once."""

    token: str

    @classmethod
    def with_token(cls, key: ApiKey, token: str) -> KeyCreated:
        """The view of `key`, and the key."""
        return cls(**_key_fields(key), token=token)


class EventView(BaseModel):
    """One thing that happened."""

    id: int
    time: datetime
    actor: str
    cause: str
    noun: str
    name: str
    kind: str
    data: dict[str, Any]

    @classmethod
    def of(cls, event: Event) -> EventView:
        """The view of `event`."""
        return cls(
            id=event.seq,
            time=event.time,
            actor=event.actor,
            cause=event.cause,
            noun=event.noun,
            name=event.name,
            kind=event.kind,
            data=dict(event.data),
        )


def _key_fields(key: ApiKey) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "name": key.name,
        "role": role_of(key.scopes),
        "scopes": list(key.scopes),
        "domains": None if key.domains is None else list(key.domains),
        "created_time": key.created_time,
        "expires_time": key.expires_time,
        "revoked_time": key.revoked_time,
    }
