"""What lists look like: some items, and the token of the next page; an empty one ends the list."""

from __future__ import annotations

from pydantic import BaseModel

from udair_platform.api.views.domains import AliasChangeView, AliasView, DomainView, SnapshotView
from udair_platform.api.views.jobs import JobView
from udair_platform.api.views.platform import BaseView, EventView, KeyView
from udair_platform.api.views.versions import VersionView
from udair_platform.api.views.webhooks import WebhookView


class DomainPage(BaseModel):
    """Some domains; an empty token ends the list."""

    domains: list[DomainView]
    next_page_token: str


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobView]
    next_page_token: str


class SnapshotPage(BaseModel):
    """Some snapshots, newest first."""

    snapshots: list[SnapshotView]
    next_page_token: str


class VersionPage(BaseModel):
    """Some versions, newest first."""

    versions: list[VersionView]
    next_page_token: str


class AliasPage(BaseModel):
    """Every alias of a domain."""

    aliases: list[AliasView]


class AliasHistory(BaseModel):
    """Some moves of an alias, newest first."""

    changes: list[AliasChangeView]
    next_page_token: str


class KeyPage(BaseModel):
    """Some keys, oldest first."""

    keys: list[KeyView]
    next_page_token: str


class WebhookPage(BaseModel):
    """Some webhooks, oldest first."""

    webhooks: list[WebhookView]
    next_page_token: str


class EventPage(BaseModel):
    """Some events, oldest first."""

    events: list[EventView]
    next_page_token: str


class BasePage(BaseModel):
    """Every base model, oldest first."""

    base_models: list[BaseView]
