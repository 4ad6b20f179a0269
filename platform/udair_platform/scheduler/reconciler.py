"""The loop that makes the observed state follow the wanted one, wherever it was killed before.

Every step is safe to repeat. What must not happen twice is guarded where it would happen: an attempt
is committed before it is launched and its id makes a second launch the same launch; a result is
decided by the first writer of result.json; a version is unique per job in the database; and every
write checks in its own transaction that this reconciler still holds the lease.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from udair_jobs.storage import Storage
from udair_platform.documents import routes
from udair_platform.entities.job import Job, JobState, submission_id
from udair_platform.errors import LeaseLost, PlatformError, StaleWrite
from udair_platform.http.tracing import Tracing
from udair_platform.scheduler import policy
from udair_platform.scheduler.context import ACTOR, ReconcilerContext
from udair_platform.scheduler.launcher import Launcher
from udair_platform.scheduler.log_keeper import LogKeeper
from udair_platform.scheduler.state_timeouts import missed
from udair_platform.scheduler.steps import Steps
from udair_platform.scheduler.wakeup import WakeUp
from udair_platform.services import approval, budgets, jobs, kept_trials, schedules, served, tenants, usage
from udair_platform.services.change import Change
from udair_platform.services.reports import ReportCollector
from udair_platform.settings import Settings
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS
from udair_platform.telemetry import logger

LEASE = "reconciler"
REPLIES_KEPT = timedelta(hours=24)
_SWEEP_EVERY = timedelta(minutes=10)
_REPORTS_EVERY = _BUDGETS_EVERY = timedelta(seconds=10)
_log = logger("reconciler")


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class Reconciler:
    """One of possibly several; only the one that holds the lease acts.

    Args:
        database: The wanted and the observed state.
        store: The platform's own objects.
        launcher: Runs attempts.
        settings: Intervals, timeouts, endpoints.
        clock: Now, in UTC.
        holder: Name under which the lease is held; unique per reconciler.
    """

    def __init__(
        self,
        database: Database,
        store: Storage,
        launcher: Launcher,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
        holder: str | None = None,
    ) -> None:
        self._database, self._store, self._settings, self._clock = database, store, settings, clock
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._token: int | None = None
        self._renewed: datetime | None = None
        self._waits_for = ""
        self._swept: datetime | None = None
        self._routes: tuple[int, str | None] | None = None
        self._quota, self._prices = tenants.default_quota(settings), usage.prices_of(settings)
        self._reports = ReportCollector(store, self._change, clock)
        self._reported: datetime | None = None
        self._told: datetime | None = None
        self._launcher = launcher
        self._logs = LogKeeper(launcher)
        self._steps = Steps(
            ReconcilerContext(
                self._change,
                database,
                store,
                launcher,
                self._logs,
                settings,
                clock,
                Tracing("udair-scheduler"),
            )
        )

    def tick(self) -> bool:
        """One pass over everything that is unfinished; False if another reconciler holds the lease.

        One job's trouble never stops the others.

        Raises:
            LeaseLost: Another took over in the middle; the next tick waits for its turn.
            StateUnavailable: The database does not answer.
        """
        if not self._hold_lease():
            return False
        for job in self._unfinished():
            if job.state in (JobState.PROVISIONING, JobState.RUNNING, JobState.CANCELLING):
                self._guarded(self._steps.advance, job)
            elif late := missed(job, now=self._clock(), settings=self._settings):
                with self._noted(job.id):
                    self._steps.expire(job, *late)
        with self._noted("schedules"):
            self._run_schedules()
        with self._noted("held jobs"):
            self._hold_jobs()
        for job in self._admitted():
            self._guarded(self._steps.provision, job)
        with self._noted("routes"):
            self._heal_routes()
        with self._noted("reports"):
            self._read_reports()
        with self._noted("budgets"):
            self._tell_budgets()
        with self._noted("approvals"):
            self._refuse_unapproved()
        self._sweep()
        return True

    def run_forever(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Tick until `stop` is set, through every outage; then let another take the lease at once.

        `beat` is called at every turn.
        """
        _log.info("started", holder=self.holder)
        wakeup = WakeUp(self._database, self._settings.reconcile_interval_s, self._clock)
        while not stop.is_set():
            acted = False
            try:
                beat()
                wakeup.note()
                acted = self.tick()
            except LeaseLost as error:
                self._token = None
                _log.warning("lease lost", detail=error.detail)
            except Exception:
                _log.exception("a tick failed; trying again")
            if acted:
                wakeup.wait(stop)
            else:
                stop.wait(self._settings.reconcile_interval_s)
        self.rest()
        with contextlib.suppress(PlatformError):
            self.release()
        _log.info("stopped", holder=self.holder)

    def rest(self) -> None:
        """Wait a moment for what goes on beside the turns."""
        self._logs.rest()

    def release(self) -> None:
        """Give the lease up."""
        with self._database.write() as state:
            state.leases.release(LEASE, self.holder, now=self._clock())
        self._token = None

    def _hold_lease(self) -> bool:
        now = self._clock()
        ttl_s = self._settings.lease_ttl_s
        fresh = self._renewed is not None and now < self._renewed + timedelta(seconds=ttl_s / 3)
        if self._token is not None and fresh:
            return True
        with self._database.write() as state:
            before, had = state.leases.held(LEASE), self._token
            self._token = state.leases.acquire(LEASE, self.holder, now=now, ttl_s=ttl_s)
        self._renewed = now
        other, until = before or ("", now)
        if self._token is not None and self._token != had:
            _log.info(
                "lease taken", holder=self.holder, token=self._token, before=other, before_until=until.isoformat()
            )
        elif self._token is None and other != self._waits_for:
            _log.info("waiting for the lease", holder=other, until=until.isoformat())
        self._waits_for = other if self._token is None else ""
        return self._token is not None

    @contextlib.contextmanager
    def _change(self, actor: str = ACTOR) -> Iterator[Change]:
        # The lease is checked in the transaction that it guards: a reconciler that was asleep while
        # another took over cannot write what it decided before.
        if self._token is None:
            raise LeaseLost("This reconciler holds no lease; nothing was written.")
        now = self._clock()
        with self._database.write() as state:
            state.leases.check(LEASE, self.holder, self._token)
            state.leases.acquire(LEASE, self.holder, now=now, ttl_s=self._settings.lease_ttl_s)
            yield Change(state, actor, now, quota=self._quota, prices=self._prices, objects=self._store)
        self._renewed = now

    def _unfinished(self) -> list[Job]:
        with self._database.read() as state:
            return state.jobs.unfinished(ALL_TENANTS)

    def _admitted(self) -> list[Job]:
        with self._database.read() as state:
            waiting = state.jobs.unfinished(ALL_TENANTS)
            limits = {tenant.id: tenant.quota(self._quota).concurrent_jobs for tenant in state.tenants.all()}
        room = self._settings.max_concurrent_jobs
        return policy.admit(waiting, now=self._clock(), max_concurrent=room, most_of=limits.get)

    def _hold_jobs(self) -> None:
        with self._database.read() as state:
            waiting = [job for job in state.jobs.unfinished(ALL_TENANTS) if job.unbegun]
            tenants = {job.tenant for job in waiting}
            spent = budgets.Ledger(state, self._clock(), self._prices).spent(tenants)
        for job in waiting:
            if job.held != (job.tenant in spent):
                with self._noted(job.id), self._change() as tx:
                    jobs.hold(tx, job, spent.get(job.tenant, ""))

    def _run_schedules(self) -> None:
        with self._database.read() as state:
            due = schedules.due(state, self._clock())
        for domain in due:
            with self._noted(domain.id), self._change() as tx:
                schedules.run(tx, domain)

    def _guarded(self, step: Callable[[Job], None], job: Job) -> None:
        with self._noted(job.id):
            step(job)

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            raise
        except StaleWrite as error:
            _log.info("changed meanwhile; looked at again in the next tick", what=what, detail=error.detail)
        except PlatformError as error:
            _log.warning("step postponed", what=what, code=error.code, detail=error.detail)
        except Exception:
            _log.exception("step failed; trying again", what=what)

    def _heal_routes(self) -> None:
        # Rendering costs a pass over all domains: only when either side has changed since.
        if self._routes == routes.version(self._database, self._store):
            return
        generation = routes.publish(self._database, self._store)
        self._routes = (generation, routes.version(self._database, self._store)[1])

    def _read_reports(self) -> None:
        now = self._clock()
        if self._reported is None or now - self._reported >= _REPORTS_EVERY:
            self._reported = now
            self._reports.collect()

    def _tell_budgets(self) -> None:
        now = self._clock()
        if self._told is not None and now - self._told < _BUDGETS_EVERY:
            return
        self._told = now
        with self._database.read() as state:
            news = list(budgets.Ledger(state, now, self._prices).news())
        for tenant, kind, item in news:
            with self._change() as tx:
                budgets.record(tx.because("budget"), tenant, kind, item)

    def _refuse_unapproved(self) -> None:
        timeout_s = self._settings.approval_timeout_s
        with self._database.read() as state:
            late = approval.overdue(state, timeout_s=timeout_s, now=self._clock())
        for version in late:
            with self._change() as tx:
                approval.expire(tx, version, timeout_s=timeout_s)

    def _sweep(self) -> None:
        now = self._clock()
        if self._swept is None or now - self._swept > _SWEEP_EVERY:
            self._swept = now
            with self._change() as tx:
                tx.state.replies.forget_before(now - REPLIES_KEPT)
                everybody = tx.state.tenants.all()
            for tenant in everybody:
                with self._noted(f"trials of {tenant.id}"):
                    kept_trials.prune(self._store, tenant.id, now=now)
            with self._noted("served"):
                self._thin_served()
            with self._noted("strays"):
                self._stop_strays()

    def _thin_served(self) -> None:
        more = True
        while more:  # a part at a time: others write, too
            with self._change() as tx:
                more = served.thin(tx.state, tx.now, weeks=self._settings.served_weeks)

    def _stop_strays(self) -> None:
        # Asked before the database: whatever is held by then was committed as an attempt before.
        held = set(self._launcher.held())
        if not held:
            return
        under_way = {submission_id(job.id, job.attempt) for job in self._unfinished() if job.state in policy.BUSY}
        for stray in sorted(held - under_way):
            _log.warning("stopping what no job needs", submission_id=stray)
            self._launcher.stop(stray)
