"""What lists look like: some items, and the token of the next page; an empty one ends the list."""

from __future__ import annotations

from udair_platform.contract.aliases import Alias, AliasChange
from udair_platform.contract.base_models import BaseModelInfo
from udair_platform.contract.domains import Domain
from udair_platform.contract.events import Event
from udair_platform.contract.jobs import Job
from udair_platform.contract.keys import ApiKey
from udair_platform.contract.snapshots import Snapshot
from udair_platform.contract.value import Value
from udair_platform.contract.versions import Version
from udair_platform.contract.webhooks import Webhook


class DomainPage(Value):
    """Some domains; an empty token ends the list."""

    domains: list[Domain]
    next_page_token: str


class JobPage(Value):
    """Some jobs, newest first."""

    jobs: list[Job]
    next_page_token: str


class SnapshotPage(Value):
    """Some snapshots, newest first."""

    snapshots: list[Snapshot]
    next_page_token: str


class VersionPage(Value):
    """Some versions, newest first."""

    versions: list[Version]
    next_page_token: str


class AliasPage(Value):
    """Every alias of a domain."""

    aliases: list[Alias]


class AliasHistory(Value):
    """Some moves of an alias, newest first."""

    changes: list[AliasChange]
    next_page_token: str


class KeyPage(Value):
    """Some keys, oldest first."""

    keys: list[ApiKey]
    next_page_token: str


class WebhookPage(Value):
    """Some webhooks, oldest first."""

    webhooks: list[Webhook]
    next_page_token: str


class EventPage(Value):
    """Some events, oldest first."""

    events: list[Event]
    next_page_token: str


class BasePage(Value):
    """Every base model, oldest first."""

    base_models: list[BaseModelInfo]
