"""Snapshots, jobs and attempts, in SQL."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.exc import IntegrityError

from udair_platform.entities.job import JOB_TERMINAL, Attempt, Job, JobState
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.errors import AlreadyExists, NotFound
from udair_platform.state.repositories.rows import Repository, TenantScope, in_tenant, paged
from udair_platform.state.tables import ATTEMPTS, JOBS, SNAPSHOTS


class Snapshots(Repository):
    """Snapshots of a tenant's domains."""

    def add(self, snapshot: Snapshot) -> None:
        """Insert `snapshot`."""
        self._insert(SNAPSHOTS, snapshot)

    def get(self, tenant: TenantScope, id: str, *, domain_id: str | None = None) -> Snapshot:
        """The snapshot `id`.

        Raises:
            NotFound: There is none.
        """
        statement = select(SNAPSHOTS).where(in_tenant(SNAPSHOTS, tenant), SNAPSHOTS.c.id == id)
        if domain_id is not None:
            statement = statement.where(SNAPSHOTS.c.domain_id == domain_id)
        snapshot = self._one(Snapshot, statement)
        if snapshot is None:
            raise NotFound(f"There is no snapshot {id!r} of this domain.")
        return snapshot

    def latest(self, tenant: TenantScope, domain_id: str) -> Snapshot | None:
        """The newest usable snapshot of the domain."""
        where = (
            in_tenant(SNAPSHOTS, tenant),
            SNAPSHOTS.c.domain_id == domain_id,
            SNAPSHOTS.c.state == SnapshotState.ACTIVE,
        )
        return self._one(Snapshot, paged(SNAPSHOTS, *where, after=None, size=1, newest_first=True))

    def page(self, tenant: TenantScope, domain_id: str, *, after: int | None = None, size: int = 100) -> list[Snapshot]:
        """Snapshots of the domain, newest first."""
        where = (in_tenant(SNAPSHOTS, tenant), SNAPSHOTS.c.domain_id == domain_id)
        return self._all(Snapshot, paged(SNAPSHOTS, *where, after=after, size=size, newest_first=True))

    def every(self) -> list[Snapshot]:
        """Every snapshot of every tenant."""
        return self._all(Snapshot, select(SNAPSHOTS))

    def save(self, snapshot: Snapshot) -> Snapshot:
        """Write over what was read. Raises StaleWrite."""
        return self._save(SNAPSHOTS, snapshot, "id")


class Jobs(Repository):
    """Jobs of a tenant."""

    def add(self, job: Job) -> None:
        """Insert `job`.

        Raises:
            AlreadyExists: There is a job of that id.
        """
        try:
            self._insert(JOBS, job)
        except IntegrityError as error:
            raise AlreadyExists(f"Job {job.id!r} exists already.") from error

    def get(self, tenant: TenantScope, id: str, *, domain_id: str | None = None) -> Job:
        """The job `id`, of that domain if one is named.

        Raises:
            NotFound: There is none.
        """
        job = self.find(tenant, id)
        if job is None or (domain_id is not None and job.domain_id != domain_id):
            raise NotFound(f"There is no job {id!r}. `udair job list` shows those that you may see.")
        return job

    def find(self, tenant: TenantScope, id: str) -> Job | None:
        """The job `id`, or None."""
        return self._one(Job, select(JOBS).where(in_tenant(JOBS, tenant), JOBS.c.id == id))

    def page(
        self,
        tenant: TenantScope,
        *,
        domain_id: str | None = None,
        after: int | None = None,
        size: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""
        where = [in_tenant(JOBS, tenant)]
        if domain_id is not None:
            where.append(JOBS.c.domain_id == domain_id)
        return self._all(Job, paged(JOBS, *where, after=after, size=size, newest_first=True))

    def unfinished(self, tenant: TenantScope, *, domain_id: str | None = None) -> list[Job]:
        """Jobs that something may still happen to, oldest first."""
        # Named one by one, not by exclusion: finished jobs are many, and the index passes them by.
        where = [in_tenant(JOBS, tenant), JOBS.c.state.in_(sorted(set(JobState) - JOB_TERMINAL))]
        if domain_id is not None:
            where.append(JOBS.c.domain_id == domain_id)
        return self._all(Job, select(JOBS).where(*where).order_by(JOBS.c.seq))

    def count_unfinished(self, tenant: TenantScope) -> int:
        """How many jobs something may still happen to."""
        where = (in_tenant(JOBS, tenant), JOBS.c.state.not_in(sorted(JOB_TERMINAL)))
        return self._connection.scalar(select(func.count()).select_from(JOBS).where(*where)) or 0

    def every(self) -> list[Job]:
        """Every job of every tenant."""
        return self._all(Job, select(JOBS))

    def counts(self, tenant: TenantScope) -> dict[JobState, int]:
        """How many jobs there are in each state that some job has."""
        counted = select(JOBS.c.state, func.count()).where(in_tenant(JOBS, tenant)).group_by(JOBS.c.state)
        return dict(self._connection.execute(counted).tuples().all())

    def oldest_unfinished(self, tenant: TenantScope) -> datetime | None:
        """When the oldest job was made that something may still happen to."""
        where = (in_tenant(JOBS, tenant), JOBS.c.state.not_in(sorted(JOB_TERMINAL)))
        oldest: datetime | None = self._connection.scalar(select(func.min(JOBS.c.created_time)).where(*where))
        return oldest

    def seconds(self, tenant: TenantScope, since: datetime) -> dict[str, tuple[int, float]]:
        """By domain id: how many jobs have ended since then, and how many seconds they ran."""
        columns = select(JOBS.c.domain_id, JOBS.c.started_time, JOBS.c.finished_time)
        ran = columns.where(in_tenant(JOBS, tenant), JOBS.c.finished_time >= since, JOBS.c.started_time.is_not(None))
        sums: dict[str, tuple[int, float]] = {}
        for domain_id, started, finished in self._connection.execute(ran).tuples():
            count, seconds = sums.get(domain_id, (0, 0.0))
            sums[domain_id] = (count + 1, seconds + (finished - started).total_seconds())
        return sums

    def seconds_between(self, tenant: TenantScope, start: datetime, now: datetime) -> dict[str, float]:
        """By tenant: how many seconds of the time from `start` to `now` its jobs ran, those that still run too."""
        columns = select(JOBS.c.tenant, JOBS.c.started_time, JOBS.c.finished_time)
        lately = or_(JOBS.c.finished_time > start, JOBS.c.finished_time.is_(None))
        ran = columns.where(in_tenant(JOBS, tenant), lately, JOBS.c.started_time < now)
        sums: dict[str, float] = {}
        for name, started, finished in self._connection.execute(ran).tuples():
            seconds = (min(finished or now, now) - max(started, start)).total_seconds()
            sums[name] = sums.get(name, 0.0) + max(0.0, seconds)
        return sums

    def save(self, job: Job) -> Job:
        """Write over what was read. Raises StaleWrite."""
        return self._save(JOBS, job, "id")


class Attempts(Repository):
    """Attempts of a tenant's jobs."""

    def add(self, attempt: Attempt) -> None:
        """Insert `attempt`."""
        self._insert(ATTEMPTS, attempt)

    def get(self, tenant: TenantScope, job_id: str, number: int) -> Attempt:
        """One attempt.

        Raises:
            NotFound: There is none.
        """
        where = (in_tenant(ATTEMPTS, tenant), ATTEMPTS.c.job_id == job_id, ATTEMPTS.c.number == number)
        attempt = self._one(Attempt, select(ATTEMPTS).where(*where))
        if attempt is None:
            raise NotFound(f"Job {job_id!r} has no attempt {number}.")
        return attempt

    def of_job(self, tenant: TenantScope, job_id: str) -> list[Attempt]:
        """Every attempt of the job, first to last."""
        where = (in_tenant(ATTEMPTS, tenant), ATTEMPTS.c.job_id == job_id)
        return self._all(Attempt, select(ATTEMPTS).where(*where).order_by(ATTEMPTS.c.number))

    def every(self) -> list[Attempt]:
        """Every attempt of every tenant."""
        return self._all(Attempt, select(ATTEMPTS))

    def save(self, attempt: Attempt) -> Attempt:
        """Write over what was read. Raises StaleWrite."""
        return self._save(ATTEMPTS, attempt, "job_id", "number")
