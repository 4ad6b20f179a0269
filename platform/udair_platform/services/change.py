"""A change of the platform's state: one transaction, bound to who makes it, when, why and within which limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from udair_jobs.storage import Storage
from udair_platform.documents import routes
from udair_platform.entities.api_key import ApiKey
from udair_platform.entities.domain import Domain
from udair_platform.entities.event import Event
from udair_platform.entities.job import Attempt, Job
from udair_platform.entities.prices import Prices
from udair_platform.entities.snapshot import Snapshot
from udair_platform.entities.tenant import Quota, Tenant
from udair_platform.entities.version import AdapterVersion
from udair_platform.entities.webhook import Webhook
from udair_platform.errors import PlatformError
from udair_platform.state.database import Database
from udair_platform.state.repositories import State
from udair_platform.telemetry import logger

Noun = Domain | Job | Attempt | Snapshot | AdapterVersion | ApiKey | Webhook | Tenant
# What an event calls each noun, and which field is its name there.
_NOUNS: Mapping[type, tuple[str, str]] = {
    Domain: ("domain", "name"),
    Job: ("job", "id"),
    Attempt: ("attempt", "submission_id"),
    Snapshot: ("snapshot", "id"),
    AdapterVersion: ("version", "number"),
    ApiKey: ("key", "kid"),
    Webhook: ("webhook", "id"),
    Tenant: ("tenant", "id"),
}
_log = logger("services")


@dataclass(frozen=True)
class Change:
    """What a service works in.

    Attributes:
        state: The repositories of the open transaction.
        actor, cause: Who changes something, and why: for the events.
        now: One time for everything in the transaction.
        quota: Limits of tenants that have none of their own.
        prices: What budgets of money are counted by.
        trace: W3C ``traceparent`` of the request, where requests are traced.
        objects: The platform's store, for those that need it; writing to it is no part of the transaction.
    """

    state: State
    actor: str
    now: datetime
    cause: str = "request"
    quota: Quota = Quota()
    prices: Prices = Prices()
    trace: str | None = None
    objects: Storage | None = None
    _touched: set[str] = field(default_factory=set, repr=False)

    @property
    def store(self) -> Storage:
        """The platform's store."""
        assert self.objects is not None, "who opens this transaction brings the store"
        return self.objects

    def because(self, cause: str, *, actor: str | None = None) -> Change:
        """The same transaction for another reason, or on somebody else's account."""
        return replace(self, cause=cause, actor=self.actor if actor is None else actor)

    def record(
        self,
        about: Noun,
        kind: str,
        data: Mapping[str, Any] | None = None,
        *,
        noun: str | None = None,
        name: str | None = None,
    ) -> None:
        """Append the event that `kind` happened to `about`; `noun` and `name` say what of it, where it is a part."""
        known, key = _NOUNS[type(about)]
        self.state.events.add(
            Event(
                tenant=about.tenant,
                time=self.now,
                actor=self.actor,
                cause=self.cause[:256],
                noun=noun or known,
                name=name or str(getattr(about, key)),
                kind=kind,
                domain_id=about.id if isinstance(about, Domain) else getattr(about, "domain_id", None),
                data=data or {},
            )
        )

    def routes_changed(self, *domains: Domain) -> None:
        """What the data plane serves is something else after this transaction: of these domains, or which keys are good."""
        routes.changed(self.state, *(domain.id for domain in domains))
        self._touched.add("routes")

    def publish(self, database: Database) -> None:
        """After the commit: write routes.json if it says something else now; if that fails, the reconciler does it."""
        if "routes" not in self._touched:
            return
        try:
            routes.publish(database, self.store)
        except PlatformError as error:
            _log.warning("routes.json follows later", code=error.code, detail=error.detail)


@contextlib.contextmanager
def change(
    database: Database,
    store: Storage,
    *,
    actor: str,
    now: datetime,
    quota: Quota = Quota(),
    prices: Prices = Prices(),
    trace: str | None = None,
) -> Iterator[Change]:
    """One transaction in which services act for `actor`; the data plane is told of it when it has committed."""
    with database.write() as state:
        made = Change(state, actor, now, quota=quota, prices=prices, trace=trace, objects=store)
        yield made
    made.publish(database)
