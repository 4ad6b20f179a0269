"""What the control plane can take: submissions, long lists, many domains, and the way from POST to RUNNING.

python benchmarks/control_plane.py --json benchmarks/results/control_plane.json --postgres postgresql://me@host/postgres

The API and the reconciler are real processes on loopback; jobs are `tests/servers/fast_job.py`. At the server of
--postgres databases are made and dropped again; without it the figures of PostgreSQL are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "servers"))

from control_processes import ControlProcesses
from report import Figure, arguments, publish
from sqlalchemy import create_engine, insert, text
from sqlalchemy.engine import make_url

from udair_platform.contract.domains import GateRules, Schedule, Traffic
from udair_platform.documents import routes
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.event import Event
from udair_platform.scheduler.launchers.local import LocalLauncher
from udair_platform.scheduler.launchers.supervise import CLAIM
from udair_platform.scheduler.reconciler import Reconciler
from udair_platform.services import domains
from udair_platform.services.change import Change
from udair_platform.state.tables import ALIASES, DOMAINS, EVENTS

TENANT = "default"
CALLERS = 8
NOW = datetime.now(UTC)
BATCH = 10_000


class Caller:
    """One connection to the API, kept open."""

    def __init__(self, control: ControlProcesses) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(control.url).netloc, timeout=30)
        self._headers = {"Authorization": f"Bearer {control.token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> dict:
        """One request; an answer that is no success ends the benchmark."""
        self._connection.request(method, path, body, self._headers | headers)
        reply = self._connection.getresponse()
        data = reply.read()
        if reply.status >= 300:
            raise SystemExit(f"{method} {path} was answered with {reply.status}: {data[:300]!r}")
        return dict(json.loads(data))


@contextlib.contextmanager
def fresh_database(server: str | None) -> Iterator[dict[str, str]]:
    """Settings that name an empty database: at `server`, or the default, a SQLite file."""
    if server is None:
        yield {}
        return
    name = f"udair_bench_{time.time_ns()}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield {"database_url": f"{server.rpartition('/')[0]}/{name}"}
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@contextlib.contextmanager
def platform(server: str | None, **settings: object) -> Iterator[ControlProcesses]:
    """A platform of one domain in a folder of its own, nothing of it running yet."""
    with tempfile.TemporaryDirectory() as folder, fresh_database(server) as chosen:
        unlimited = {"rate_limit_per_minute": 0, "tenant_max_queued_jobs": 0}
        settings = {**unlimited, **chosen, **settings}
        with ControlProcesses(Path(folder) / "home", **settings) as control:
            with control.database.write() as state:
                tx = Change(state, "benchmark", NOW, objects=control.store)
                domains.create(tx, tenant=TENANT, name="foggy-cams", source_uri="s3://photos/cams")
            yield control


def submissions_per_s(server: str | None, seconds: float) -> float:
    """Jobs that eight callers submit, each with an idempotency key of its own."""
    with platform(server) as control:
        control.start("api")
        control.await_ready()
        counts = [0] * CALLERS
        ends = time.monotonic() + seconds

        def submit(number: int) -> None:
            caller = Caller(control)
            while time.monotonic() < ends:
                key = f"bench-{number}-{counts[number]}-{time.time_ns()}"
                caller.ask("POST", "/v1/domains/foggy-cams/jobs", "{}", **{"Idempotency-Key": key})
                counts[number] += 1

        threads = [threading.Thread(target=submit, args=(number,)) for number in range(CALLERS)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - started)


def fill(control: ControlProcesses, count: int, events: int) -> None:
    """`count` domains that lie idle, and events, nine in ten of them the asking tenant's."""
    rows = [
        {
            "id": f"d-{number}",
            "tenant": TENANT,
            "name": f"cams-{number}",
            "description": "",
            "traffic": Traffic(),
            "schedule": Schedule(),
            "external_id": "",
            "source_uri": f"s3://photos/{number}",
            "gate": GateRules(),
            "state": "ACTIVE",
            "created_time": NOW,
            "updated_time": NOW,
            "row_version": 1,
        }
        for number in range(count)
    ]
    aliases = [
        {
            "domain_id": row["id"],
            "name": CHAMPION,
            "tenant": TENANT,
            "version": 0,
            "updated_time": NOW,
            "row_version": 1,
        }
        for row in rows
    ]
    with control.database.write() as state:
        connection = state.events._connection
        for table, values in ((DOMAINS, rows), (ALIASES, aliases)):
            connection.execute(insert(table), values)
        for start in range(0, events, BATCH):
            connection.execute(
                insert(EVENTS),
                [
                    {
                        "tenant": TENANT if number % 10 else "other",
                        "time": NOW,
                        "actor": "benchmark",
                        "cause": "fill",
                        "noun": ("job", "attempt", "domain", "version")[number % 4],
                        "name": f"j-{number // 8}",
                        "kind": "job.RUNNING",
                        "domain_id": f"d-{number % count}",
                        "data": {"state": "RUNNING"},
                    }
                    for number in range(start, min(start + BATCH, events))
                ],
            )
        if connection.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))  # as its own housekeeping does within a minute
    url = make_url(control.settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        # So many rows in one transaction leave a log that no platform that grew ever has.
        with contextlib.closing(sqlite3.connect(url.database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    routes.publish(control.database, control.store)


def questions(rng: random.Random, count: int) -> list[str]:
    """Lists and gets, as a console asks them."""
    name = f"cams-{rng.randrange(count)}"
    return [
        "/v1/domains?page_size=50",
        f"/v1/domains/{name}",
        f"/v1/domains/{name}/jobs",
        f"/v1/domains/{name}/versions",
        f"/v1/domains/{name}/aliases",
        "/v1/events?page_size=50",
        "/v1/events?page_size=50&noun=version",
        f"/v1/events?page_size=50&domain={name}",
        "/v1/domains/-/jobs",
        "/v1/apiKeys",
    ]


@dataclass(frozen=True)
class Scale:
    """What ten thousand domains and a million events cost."""

    growth: list[float]
    small_ms: float
    large_ms: float
    first_tick_s: float
    idle_tick_s: float
    publish_s: float


def at_scale(server: str | None, options: argparse.Namespace) -> Scale:
    """The same questions, asked in turn of a small and of a large platform; and the large one's reconciler."""
    many, events, rounds, repeats = (1000, 20_000, 3, 20) if options.quick else (10_000, 1_000_000, 5, 60)
    with platform(server) as small, platform(server) as large:
        sizes = {small: 100, large: many}
        fill(small, 100, 1000)
        fill(large, many, events)
        first_s, idle_s = ticks(large)
        published = [publish_s(large) for _ in range(5)]
        for control in sizes:
            control.start("api")
            control.await_ready()
        callers = {control: Caller(control) for control in sizes}
        rng, p99s = random.Random(options.seed), []
        for turn in range(rounds + 1):  # the first warms up
            taken: dict[ControlProcesses, list[float]] = {control: [] for control in sizes}
            for _ in range(repeats):
                for control, count in sizes.items():
                    for path in questions(rng, count):
                        started = time.perf_counter()
                        callers[control].ask("GET", path)
                        taken[control].append(time.perf_counter() - started)
            if turn:
                p99s.append([sorted(taken[control])[int(len(taken[control]) * 0.99)] for control in sizes])
    before, after = (median(pair[place] for pair in p99s) * 1e3 for place in (0, 1))
    growth = [large_s / small_s for small_s, large_s in p99s]
    return Scale(growth, round(before, 2), round(after, 2), first_s, idle_s, median(published))


def ticks(control: ControlProcesses) -> tuple[float, float]:
    """Seconds of a reconciler's first pass, and of those after it, with nothing to do."""
    launcher = LocalLauncher(control.settings.home / "launcher")
    reconciler = Reconciler(control.database, control.store, launcher, control.settings)
    taken = []
    for _ in range(21):
        started = time.perf_counter()
        assert reconciler.tick()
        taken.append(time.perf_counter() - started)
    reconciler.release()
    return taken[0], max(taken[1:])


def publish_s(control: ControlProcesses) -> float:
    """Seconds until routes.json shows one more change."""
    with control.database.write() as state:
        routes.changed(state, "d-1234")
    started = time.perf_counter()
    routes.publish(control.database, control.store)
    return time.perf_counter() - started


def submit_overhead_s(server: str | None, repeats: int) -> list[float]:
    """From the submission to RUNNING, without what passes between launch and claim, which is the launcher's."""
    os.environ["UDAIR_FAST_JOB_S"] = "1.5"
    with platform(server, max_concurrent_jobs=4) as control:
        control.start("api")
        control.start("scheduler")
        control.await_ready()
        caller = Caller(control)
        ids = []
        for number in range(repeats + 1):
            ids.append(
                caller.ask("POST", "/v1/domains/foggy-cams/jobs", "{}", **{"Idempotency-Key": f"o-{number}"})["id"]
            )
            while caller.ask("GET", f"/v1/domains/-/jobs/{ids[-1]}")["state"] != "SUCCEEDED":
                time.sleep(0.1)
        return [_overhead(control, id) for id in ids[1:]]  # the first waits for the reconciler to start


def _overhead(control: ControlProcesses, id: str) -> float:
    with control.database.read() as state:
        events = state.events.page(TENANT, noun="job", name=id)
    times = {event.kind: event.time for event in reversed(events)}
    folder = control.settings.home / "launcher" / f"{id}-1"
    launched = float((folder / "requested").read_text())
    claimed = (folder / CLAIM).stat().st_mtime
    return (times["job.RUNNING"] - times["job.QUEUED"] - timedelta(seconds=claimed - launched)).total_seconds()


def listener_lags_ms(server: str | None, listeners: int, events: int) -> list[float]:
    """How late events reach listeners, one event a quarter of a second, from its own time to its arrival."""
    with platform(server) as control:
        control.start("api")
        control.await_ready()
        command = [
            sys.executable,
            str(Path(__file__).with_name("listeners.py")),
            str(urlsplit(control.url).port),
            control.token,
            str(listeners),
            str(events),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
            assert listening.stdout is not None
            if listening.stdout.readline().strip() != "ready":
                raise SystemExit("the listeners could not listen")
            for number in range(events):
                with control.database.write() as state:
                    state.events.add(
                        Event(
                            tenant=TENANT,
                            time=datetime.now(UTC),
                            actor="benchmark",
                            cause="listen",
                            noun="thing",
                            name=f"t-{number}",
                            kind="thing.happened",
                        )
                    )
                time.sleep(0.25)
            return list(json.loads(listening.stdout.readline()))


def main() -> None:
    options = arguments(__doc__ or "", postgres=True)
    seconds, repeats = (2.0, 3) if options.quick else (10.0, 20)
    figures, details = {}, {}
    for name, server in (("sqlite", None), ("postgres", options.postgres)):
        if name == "postgres" and server is None:
            continue
        # What SQLite, the default, gives is judged; PostgreSQL's figures stand beside it.
        end, judged = ("", True) if name == "sqlite" else ("_postgres", False)
        print(f"{name}: submissions", file=sys.stderr, flush=True)
        rates = [submissions_per_s(server, seconds) for _ in range(3)]
        figures[f"submissions_per_s_{name}"] = Figure.median_of(rates, "1/s")
        print(f"{name}: lists, ticks", file=sys.stderr, flush=True)
        scale = at_scale(server, options)
        overheads = submit_overhead_s(server, repeats)
        found = {
            "list_p99_growth": Figure.median_of(scale.growth, "x", *(2.0, 1.2) if judged else ()),
            "reconcile_10k_idle_s": Figure(round(scale.idle_tick_s, 4), "s", *(1.0, 0.2) if judged else ()),
            "reconcile_10k_first_s": Figure(round(scale.first_tick_s, 3), "s"),
            "routes_10k_publish_s": Figure(round(scale.publish_s, 3), "s"),
            "submit_overhead_s": Figure.median_of(overheads, "s", *(0.5, 0.1) if judged else ()),
        }
        figures |= {f"{figure}{end}": value for figure, value in found.items()}
        lags = sorted(listener_lags_ms(server, 50 if options.quick else 500, 8 if options.quick else 40))
        figures[f"sse_500_clients_lag_ms{end}"] = Figure(round(median(lags), 1), "ms")
        figures[f"sse_500_clients_lag_p99_ms{end}"] = Figure(round(lags[int(0.99 * len(lags))], 1), "ms")
        details[name] = {"small_p99_ms": scale.small_ms, "large_p99_ms": scale.large_ms}
    publish("control_plane", figures, options, lists=details)


if __name__ == "__main__":
    main()
