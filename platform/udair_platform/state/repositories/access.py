"""Tenants, API keys and remembered replies, in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from udair_platform.entities.api_key import ApiKey
from udair_platform.entities.tenant import Tenant
from udair_platform.errors import AlreadyExists, NotFound
from udair_platform.state.repositories.rows import (
    Repository,
    TenantScope,
    in_tenant,
    paged,
    values_of,
)
from udair_platform.state.tables import API_KEYS, REPLIES, TENANTS, USED_LINKS


class Tenants(Repository):
    """Who is isolated from whom."""

    def ensure(self, id: str, *, now: datetime) -> None:
        """Create the tenant unless it exists."""
        if not self.exists(id):
            self._connection.execute(insert(TENANTS).values(id=id, created_time=now))

    def find(self, id: str) -> Tenant | None:
        """The tenant `id`, or None."""
        return self._one(Tenant, select(TENANTS).where(TENANTS.c.id == id))

    def get(self, id: str) -> Tenant:
        """The tenant `id`.

        Raises:
            NotFound: There is none.
        """
        tenant = self.find(id)
        if tenant is None:
            raise NotFound(f"There is no tenant {id!r}. `udair admin tenant list` shows those that there are.")
        return tenant

    def all(self) -> list[Tenant]:
        """Every tenant, by name."""
        return self._all(Tenant, select(TENANTS).order_by(TENANTS.c.id))

    def save(self, tenant: Tenant) -> None:
        """Write over what was read."""
        values = values_of(tenant, without=("id", "created_time"))
        self._connection.execute(update(TENANTS).where(TENANTS.c.id == tenant.id).values(**values))

    def exists(self, id: str) -> bool:
        """Whether there is such a tenant."""
        return self._connection.scalar(select(TENANTS.c.id).where(TENANTS.c.id == id)) is not None


class Keys(Repository):
    """API keys: what is known of them, never the keys."""

    def add(self, key: ApiKey) -> None:
        """Insert `key`.

        Raises:
            AlreadyExists: There is a key of that name.
        """
        try:
            self._insert(API_KEYS, key)
        except IntegrityError as error:
            raise AlreadyExists(f"Key {key.kid!r} exists already.") from error

    def find(self, tenant: TenantScope, kid: str) -> ApiKey | None:
        """The key `kid`, revoked or not, or None."""
        return self._one(ApiKey, select(API_KEYS).where(in_tenant(API_KEYS, tenant), API_KEYS.c.kid == kid))

    def page(self, tenant: TenantScope, *, after: int | None = None, size: int = 100) -> list[ApiKey]:
        """Every key, revoked or not, oldest first."""
        where = in_tenant(API_KEYS, tenant)
        return self._all(ApiKey, paged(API_KEYS, where, after=after, size=size, newest_first=False))

    def revoke(self, tenant: str, kid: str, *, at: datetime) -> tuple[ApiKey, bool]:
        """Take the key back at that time; the flag says whether it would have been good until then.

        Raises:
            NotFound: The tenant has no such key.
        """
        where = (API_KEYS.c.tenant == tenant, API_KEYS.c.kid == kid)
        still_good = or_(API_KEYS.c.revoked_time.is_(None), API_KEYS.c.revoked_time > at)
        fresh = update(API_KEYS).where(*where, still_good).values(revoked_time=at)
        changed = self._connection.execute(fresh).rowcount == 1
        key = self.find(tenant, kid)
        if key is None:
            raise NotFound(f"There is no key {kid!r}. `udair key list` shows yours.")
        return key, changed

    def log_out(self, tenant: str, kid: str, *, at: datetime) -> None:
        """End the sessions that the key has begun before that time."""
        where = (API_KEYS.c.tenant == tenant, API_KEYS.c.kid == kid)
        self._connection.execute(update(API_KEYS).where(*where).values(logged_out_time=at))

    def revoked(self, tenant: TenantScope) -> dict[str, datetime]:
        """From when on each key that was taken back is refused, by the key's name."""
        columns = select(API_KEYS.c.kid, API_KEYS.c.revoked_time)
        statement = columns.where(in_tenant(API_KEYS, tenant), API_KEYS.c.revoked_time.is_not(None))
        return dict(self._connection.execute(statement.order_by(API_KEYS.c.kid)).tuples().all())


class UsedLinks(Repository):
    """Login links that are good no more, by the digest of each."""

    def use(self, digest: str, *, until: datetime, now: datetime) -> bool:
        """Whether this is the first use of a link; those whose time is over by `now` are forgotten."""
        self._connection.execute(delete(USED_LINKS).where(USED_LINKS.c.until_time < now))
        if self._connection.scalar(select(USED_LINKS.c.digest).where(USED_LINKS.c.digest == digest)) is not None:
            return False
        self._connection.execute(insert(USED_LINKS).values(digest=digest, until_time=until))
        return True


@dataclass(frozen=True)
class StoredReply:
    """A remembered reply; `status` is None while the request is being served."""

    tenant: str
    kid: str
    key: str
    fingerprint: str
    created_time: datetime
    status: int | None = None
    headers: Mapping[str, str] | None = None
    body: str = ""


class Replies(Repository):
    """Replies to requests that carried an idempotency key."""

    def find(self, tenant: str, kid: str, key: str) -> StoredReply | None:
        """What was remembered under `key`, or None."""
        return self._one(StoredReply, select(REPLIES).where(*self._where(tenant, kid, key)))

    def put(self, reply: StoredReply) -> None:
        """Remember `reply` in place of whatever there was."""
        self.forget(reply.tenant, reply.kid, reply.key)
        values = {**values_of(reply), "headers": dict(reply.headers or {})}
        self._connection.execute(insert(REPLIES).values(**values))

    def forget(self, tenant: str, kid: str, key: str) -> None:
        """Forget one reply."""
        self._connection.execute(delete(REPLIES).where(*self._where(tenant, kid, key)))

    def forget_before(self, time: datetime) -> int:
        """Forget replies that are older than `time`; returns how many."""
        return self._connection.execute(delete(REPLIES).where(REPLIES.c.created_time < time)).rowcount

    @staticmethod
    def _where(tenant: str, kid: str, key: str):  # type: ignore[no-untyped-def]
        return (REPLIES.c.tenant == tenant, REPLIES.c.kid == kid, REPLIES.c.key == key)
