"""What the replicas of the data plane have seen of a domain: its usage, and whether it drifts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from udair_jobs.storage import NotFound, Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.entities.domain import Domain
from udair_platform.errors import StoreDown
from udair_platform.services.reports import STALE

_MAX_BYTES = 64 * 2**20
# A replica writes its report once a minute at least, and says so when it ends.
GONE_AFTER_S = 180.0


@dataclass
class ReplicaObservations:
    """One domain over all replicas.

    Attributes:
        images, pixels, forward_s: Since the replicas began; a replica that is gone is not counted.
        drift: Its newest windows, one for each replica, newest first.
        blocked: Versions that a replica cannot load, with the reason.
        replicas: That have seen the domain.
        since: When the oldest of them began, seconds since the epoch.
        failed: Images that were not restored.
        held: Versions whose adapter a replica has, once for each replica.
        unheld: Why replicas that should have it have not.
    """

    images: int = 0
    pixels: int = 0
    forward_s: float = 0.0
    drift: list[dict[str, Any]] = field(default_factory=list)
    blocked: list[dict[str, Any]] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)
    since: float | None = None
    failed: int = 0
    held: list[int] = field(default_factory=list)
    unheld: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Replica:
    """One replica of the data plane, as it last said.

    Attributes:
        domains: Of the tenant that asks, by name; `Observed` by this replica alone.
        load: What it is busy with, over all tenants: ``images_per_s``, ``p50_s``, ``p99_s``, ``waiting``, and of
            its bank ``resident``, ``slots``, ``hits``, ``misses``, ``evictions``. Empty from a replica that does not say.
    """

    id: str
    began: float
    time: float
    domains: dict[str, ReplicaObservations]
    load: dict[str, float]


@dataclass(frozen=True)
class ReplicaReports:
    """What the replicas last said, as of one moment.

    Attributes:
        store: The platform's store, where the reports are. Every method raises StoreDown when it does not answer.
        now: Replicas that have been silent for longer than `GONE_AFTER_S` are gone, and left out.
    """

    store: Storage
    now: datetime

    def of_domain(self, domain: Domain) -> ReplicaObservations:
        """What all replicas say of `domain`."""
        return self.of_tenant(domain.tenant).get(domain.name, ReplicaObservations())

    def of_tenant(self, tenant: str) -> dict[str, ReplicaObservations]:
        """What all replicas say of each of a tenant's domains that any of them has seen."""
        return over(self.replicas(tenant))

    def replicas(self, tenant: str) -> list[Replica]:
        """Every replica that lives, the oldest first, with what it says of the tenant's domains."""
        return [replica for replica in self._heard_of(tenant) if self._lives(replica)]

    def gone(self, tenant: str) -> list[Replica]:
        """Replicas that went of late without saying so, the oldest first."""
        return [replica for replica in self._heard_of(tenant) if not self._lives(replica)]

    def _lives(self, replica: Replica) -> bool:
        return self.now.timestamp() - replica.time <= GONE_AFTER_S

    def _heard_of(self, tenant: str) -> list[Replica]:
        found = []
        for report in self._fresh():
            began = float(report.get("began_time", report["time"]))
            id, domains = str(report.get("replica", "")), report["domains"]
            mine = {
                name.partition("/")[2]: _observations(data, id, began)
                for name, data in domains.items()
                if name.startswith(f"{tenant}/") and isinstance(data, dict)
            }
            load = report.get("load")
            numbers = {str(k): float(v) for k, v in load.items() if v is not None} if isinstance(load, dict) else {}
            found.append(Replica(id, began, float(report["time"]), mine, numbers))
        return sorted(found, key=lambda replica: replica.began)

    def _fresh(self) -> Iterator[dict[str, Any]]:
        now = self.now.timestamp()
        try:
            for item in list(self.store.list(store_paths.REPORTS)):
                try:
                    report = json.loads(self.store.get(item.key, max_bytes=_MAX_BYTES))
                    fresh = now - float(report["time"]) <= STALE.total_seconds() and not report.get("ended")
                    if fresh and isinstance(report["domains"], dict):
                        yield report
                except (NotFound, ValueError, KeyError, TypeError):
                    continue  # gone, or half a report: the next one is whole
        except NotFound:
            return
        except StorageError as error:
            raise StoreDown(f"The replicas' reports cannot be read: {error}") from error


def over(found: Sequence[Replica]) -> dict[str, ReplicaObservations]:
    """The replicas' domains, each over all of them."""
    seen: dict[str, ReplicaObservations] = {}
    for replica in found:
        for name, data in replica.domains.items():
            _add(seen.setdefault(name, ReplicaObservations()), data)
    for one in seen.values():
        one.drift.sort(key=lambda window: str(window.get("ended_time", "")), reverse=True)
    return seen


def _observations(data: dict[str, Any], replica: str, began: float) -> ReplicaObservations:
    usage = data.get("usage") or {}
    drift, blocked = data.get("drift"), data.get("blocked")
    return ReplicaObservations(
        int(usage.get("images", 0)),
        int(usage.get("pixels", 0)),
        float(usage.get("forward_s", 0.0)),
        [drift] if drift else [],
        [blocked] if blocked else [],
        [replica] if usage else [],
        began,
        int(usage.get("failed", 0)),
        [] if (held := data.get("held")) is None else [int(held)],
        [str(why)] if (why := data.get("unheld")) else [],
    )


def _add(seen: ReplicaObservations, data: ReplicaObservations) -> None:
    for name in ("images", "pixels", "forward_s", "failed", "drift", "blocked", "replicas", "held", "unheld"):
        setattr(seen, name, getattr(seen, name) + getattr(data, name))
    assert data.since is not None
    seen.since = data.since if seen.since is None else min(seen.since, data.since)
