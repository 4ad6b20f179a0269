"""What a transaction can read and write, noun by noun; every question names a tenant."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from udair_platform.state.repositories.access import Keys, Replies, Tenants, UsedLinks
from udair_platform.state.repositories.domains import Aliases, BaseModels, Domains
from udair_platform.state.repositories.events import Counters, Events, Leases
from udair_platform.state.repositories.jobs import Attempts, Jobs, Snapshots
from udair_platform.state.repositories.routing import Routing
from udair_platform.state.repositories.rows import ALL_TENANTS, AllTenants, TenantScope
from udair_platform.state.repositories.served import ServedMinutes
from udair_platform.state.repositories.served_months import ServedMonths
from udair_platform.state.repositories.versions import Versions
from udair_platform.state.repositories.webhooks import Webhooks

__all__ = ["ALL_TENANTS", "AllTenants", "State", "TenantScope"]


class State:
    """The repositories of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.tenants = Tenants(connection)
        self.keys = Keys(connection)
        self.replies = Replies(connection)
        self.used_links = UsedLinks(connection)
        self.bases = BaseModels(connection)
        self.domains = Domains(connection)
        self.aliases = Aliases(connection)
        self.snapshots = Snapshots(connection)
        self.jobs = Jobs(connection)
        self.attempts = Attempts(connection)
        self.versions = Versions(connection)
        self.routing = Routing(connection)
        self.served_months = ServedMonths(connection)
        self.served = ServedMinutes(connection)
        self.events = Events(connection)
        self.webhooks = Webhooks(connection)
        self.leases = Leases(connection)
        self.counters = Counters(connection)
