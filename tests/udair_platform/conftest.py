"""A control plane over a real database and a folder store, and a launcher that finishes jobs at once.

The database is a SQLite file, or with `--postgres` a database of a real PostgreSQL server.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from postgres import PostgresServer, name_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from udair.adaptation.gate import Evidence
from udair_jobs.published.candidates import publish_candidate
from udair_jobs.specs import AdaptResult, AdaptSpec, PhaseRecord, Progress, SnapshotSummary
from udair_jobs.storage import PreconditionFailed, Storage, open_storage
from udair_platform.api.app import create_app
from udair_platform.client import Client
from udair_platform.contract.domains import GateRules
from udair_platform.entities.domain import Domain
from udair_platform.entities.job import Job
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.operations import first_start
from udair_platform.scheduler.launcher import Launcher, LaunchRequest, LaunchState
from udair_platform.scheduler.reconciler import Reconciler
from udair_platform.services import api_keys, domains, jobs
from udair_platform.services.change import Change
from udair_platform.settings import Settings, load_settings
from udair_platform.state.database import Database, open_database

with warnings.catch_warnings():  # it would rather have a newer httpx, which the SDK does not use
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BASE = RegisteredModel("udair-test", "b" * 64, "packaged:tiny", NOW)
TENANT, OTHER_TENANT = "acme", "globex"

# An adapter that keeps every limit of the standard policy, and one that blurs the source domain.
GOOD = Evidence(
    target_images=40,
    gate_images=16,
    matched_gain_db=1.2,
    source_loss_db=0.0,
    niqe_source=5.0,
    niqe_adapted=4.6,
    niqe_worsening_low=-0.5,
    disagreement_ratio=0.98,
    drift=0.0,
    clipped_share_growth=0.0,
    finite=True,
    harmed_share=0.0,
)
HARMFUL = replace(GOOD, matched_gain_db=-2.0, source_loss_db=1.5)
TOO_FEW = replace(GOOD, target_images=3)
UNCHANGED = replace(GOOD, identity=True, matched_gain_db=0.0)


class Clock:
    """A clock that only tests move."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class FinishingLauncher(Launcher):
    """Runs a job by writing, at launch, what the real one writes: files first, result.json last.

    `script` says how the attempts of any job end, in order; after its end they succeed.
    """

    endpoint_url: str | None = None
    evidence: Evidence = GOOD
    script: list[str] = field(default_factory=list)
    launched: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    states: dict[str, LaunchState] = field(default_factory=dict)
    requests: list[LaunchRequest] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)

    def launch(self, request: LaunchRequest) -> None:
        self.requests.append(request)
        if request.submission_id in self.states:
            return
        self.launched.append(request.submission_id)
        outcome = self.script.pop(0) if self.script else "succeed"
        self.states[request.submission_id] = run_job(request, outcome, self.evidence, self.pictures)

    def status(self, submission_id: str) -> LaunchState:
        return self.states.get(submission_id, LaunchState.UNKNOWN)

    def stop(self, submission_id: str) -> None:
        self.stopped.append(submission_id)
        if self.states.get(submission_id) is LaunchState.RUNNING:
            self.states[submission_id] = LaunchState.STOPPED

    def logs(self, submission_id: str, *, max_bytes: int = 2**20) -> str:
        return f"log of {submission_id}\n" if submission_id in self.states else ""

    def finish(self, submission_id: str) -> None:
        """Let a job that was scripted to run on come to its good end."""
        request = next(item for item in self.requests if item.submission_id == submission_id)
        self.states[submission_id] = run_job(request, "succeed", self.evidence, self.pictures)


def run_job(
    request: LaunchRequest, outcome: str, evidence: Evidence, pictures: Mapping[str, bytes] | None = None
) -> LaunchState:
    """Do what `udair_jobs.adapt_domain` does with an attempt, without the pixels.

    `outcome`: succeed; run (starts and stays); pending; vanish (ends without a result); or a reason.
    """
    folder, _, name = request.spec_uri.rpartition("/")
    spec = AdaptSpec.model_validate_json(open_storage(folder).get(name))
    output = open_storage(spec.output_uri)
    if outcome == "pending":
        return LaunchState.PENDING
    progress = Progress(phase="ADAPTING", progress_percent=40, metrics={"loss": 0.5}, heartbeat_time=NOW.isoformat())
    output.put("progress.json", progress.model_dump_json().encode())
    if outcome == "run":
        return LaunchState.RUNNING
    if outcome == "vanish":
        return LaunchState.FAILED
    if outcome != "succeed":
        return _commit(output, AdaptResult(state="FAILED", reason=outcome, detail=f"it was {outcome}"))
    summary = summary_of(spec)
    open_storage(spec.snapshot_uri).put("summary.json", summary.model_dump_json().encode())
    files = {
        "adapter.safetensors": f"adapter of {spec.job_id}".encode(),
        "evidence.json": json.dumps(evidence.to_dict()).encode(),
        "metrics.json": b'{"loss": 0.25}',
        **(pictures or {}),
    }
    manifest = publish_candidate(
        output.at("candidate"), files, base_digest=spec.base_digest, code_version="0.1.0", tone=spec.tone
    )
    result = AdaptResult(
        state="SUCCEEDED",
        snapshot=summary,
        candidate_uri=output.at("candidate").uri,
        manifest=manifest,
        evidence=evidence.to_dict(),
        metrics={"loss": 0.25},
        phases=[PhaseRecord(phase="ADAPTING", seconds=1.5)],
        seconds=2.0,
    )
    return _commit(output, result)


def _commit(output: Storage, result: AdaptResult) -> LaunchState:
    try:
        output.put("result.json", result.model_dump_json().encode(), if_absent=True)
    except PreconditionFailed:
        result = AdaptResult.model_validate_json(output.get("result.json"))
    return LaunchState.SUCCEEDED if result.state == "SUCCEEDED" else LaunchState.FAILED


def summary_of(spec: AdaptSpec) -> SnapshotSummary:
    """A snapshot of forty images."""
    return SnapshotSummary(
        snapshot_id=spec.snapshot_id,
        source_uri=spec.source_uri,
        digest="d" * 64,
        objects=41,
        images=40,
        adapt_images=24,
        gate_images=16,
        skipped=1,
        skipped_by_reason={"TRUNCATED": 1},
        total_bytes=4000,
        seconds=0.1,
    )


@dataclass
class Plane:
    """A control plane and the handles that a test needs."""

    settings: Settings
    database: Database
    store: Storage
    signing_key: bytes
    clock: Clock
    launcher: FinishingLauncher
    reconciler: Reconciler
    admin_token: str

    @cached_property
    def client(self) -> TestClient:
        """An HTTP client of the control API, as the tenant's admin."""
        app = create_app(
            self.settings,
            database=self.database,
            store=self.store,
            signing_key=self.signing_key,
            clock=self.clock,
        )
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    def domain(self, name: str = "foggy-cams", *, tenant: str = TENANT, **rules: Any) -> Domain:
        """A domain of the tenant, as the API would make it."""
        gate = GateRules(**rules)
        with self.change() as tx:
            return domains.create(tx, tenant=tenant, name=name, source_uri="s3://acme-photos/cams", gate=gate)

    @contextlib.contextmanager
    def change(self, actor: str = "test", cause: str = "request") -> Iterator[Change]:
        """One transaction for services; routes.json is left to whoever comes later."""
        with self.database.write() as state:
            yield Change(state, actor, self.clock(), cause, objects=self.store)

    def submit(self, domain: Domain, snapshot: str | None = None) -> Job:
        """A queued job of `domain`."""
        with self.change() as tx:
            return jobs.submit(tx, domain, recipe={"steps": 3}, snapshot=snapshot)

    def job(self, id: str) -> Job:
        """The job as it is now."""
        with self.database.read() as state:
            return state.jobs.get(TENANT, id)

    def settle(self, id: str, ticks: int = 20) -> Job:
        """Tick until the job is done, a minute and a half between ticks, so that no backoff waits."""
        for _ in range(ticks):
            self.reconciler.tick()
            if self.job(id).done:
                break
            self.clock.forward(90)
        return self.job(id)

    def printed(self, id: str, within_s: float = 10) -> str:
        """What is kept of what the job printed, once anything is: it is copied beside the turns."""
        ends = time.monotonic() + within_s
        while not (text := self.client.get(f"/v1/domains/-/jobs/{id}/logs").text) and time.monotonic() < ends:
            time.sleep(0.02)
        return text

    def version(self, domain: Domain, evidence: Evidence = GOOD) -> int:
        """A new version of `domain` with that evidence, through a whole job; its number."""
        self.launcher.evidence = evidence
        number = self.settle(self.submit(domain).id).version
        assert number is not None
        return number

    def token(
        self,
        *scopes: str,
        tenant: str = TENANT,
        only: tuple[str, ...] | None = None,
        expires: datetime | None = None,
    ) -> str:
        """A new key of the tenant."""
        with self.change() as tx:
            _, token = api_keys.create_key(
                tx, self.signing_key, tenant=tenant, name="test", scopes=scopes, domains=only, expires=expires
            )
        return token

    def restarted(self, **changes: Any) -> Reconciler:
        """Another reconciler over the same database and store, as after kill -9."""
        parts = {
            "database": self.database,
            "store": self.store,
            "launcher": self.launcher,
            "settings": self.settings,
            "clock": self.clock,
            **changes,
        }
        return Reconciler(**parts)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL server on loopback."""
    # Not in pytest's folder, which only its own user can enter.
    folder = Path(tempfile.mkdtemp(prefix="udair-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "server")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def on_postgres(request: pytest.FixtureRequest) -> PostgresServer | None:
    """The server where `--postgres` puts every control plane of the tests, else None: SQLite files."""
    return request.getfixturevalue("postgres") if request.config.getoption("--postgres") else None


@pytest.fixture
def empty_database(tmp_path: Path, on_postgres: PostgresServer | None) -> Iterator[Callable[[], str]]:
    """URLs of new, empty databases."""
    made: list[str] = []

    def make() -> str:
        url = on_postgres.create() if on_postgres else f"sqlite:///{tmp_path}/empty-{len(made)} b%20.db"
        made.append(url)
        return url

    yield make
    for url in made if on_postgres else ():
        on_postgres.drop(url)


@pytest.fixture(scope="session")
def first_home(tmp_path_factory: pytest.TempPathFactory, on_postgres: PostgresServer | None) -> Path:
    """A home as the first start leaves it: migrating anew for every test would take most of the time."""
    home = tmp_path_factory.mktemp("first") / "home"
    settings = load_settings(home=home, database_url=on_postgres.create() if on_postgres else None)
    if on_postgres:
        (home.parent / "template").write_text(name_of(settings.database_url))
    database = open_database(settings.database_url)
    key = first_start.ensure_signing_key(settings.signing_key_file)
    for tenant in (OTHER_TENANT, TENANT):
        first_start.ensure_platform(database, signing_key=key, base=BASE, tenant=tenant, now=NOW)
    database.close()
    return home


@pytest.fixture
def make_plane(
    tmp_path: Path, clock: Clock, first_home: Path, on_postgres: PostgresServer | None
) -> Iterator[Callable[..., Plane]]:
    """Builds control planes, each with a folder and a database of its own."""
    opened: list[Plane] = []

    def make(**overrides: Any) -> Plane:
        if on_postgres:
            overrides["database_url"] = on_postgres.create((first_home.parent / "template").read_text())
        settings = load_settings(home=tmp_path / f"home-{len(opened)}", **overrides)
        shutil.copytree(first_home, settings.home)
        database = open_database(settings.database_url, migrated=False)
        store = open_storage(settings.store_uri)
        key = first_start.ensure_signing_key(settings.signing_key_file)
        start = first_start.ensure_platform(database, signing_key=key, base=BASE, tenant=TENANT, now=clock())
        launcher = FinishingLauncher()
        reconciler = Reconciler(database, store, launcher, settings, clock=clock)
        plane = Plane(settings, database, store, key, clock, launcher, reconciler, start.admin_token)
        opened.append(plane)
        return plane

    yield make
    for plane in opened:
        plane.database.close()
        if on_postgres:
            on_postgres.drop(plane.settings.database_url)


@pytest.fixture
def plane(make_plane: Callable[..., Plane]) -> Plane:
    """A control plane of two tenants, acme (whose admin the client is) and globex."""
    return make_plane()


@pytest.fixture
def evidence() -> dict[str, Evidence]:
    """Evidence by the verdict that the standard policy gives it."""
    return {"PASSED": GOOD, "FAILED": HARMFUL, "INCONCLUSIVE": TOO_FEW, "NOT_NEEDED": UNCHANGED}


@pytest.fixture
def gallery() -> dict[str, bytes]:
    """The pictures that a job publishes: two images, small ones."""
    files: dict[str, bytes] = {}
    items = []
    for number, key in enumerate(("cam 1/été.png", "cam 2/b.png")):
        names = {kind: f"gallery-{number:03d}-{kind}.webp" for kind in ("camera", "source", "adapted")}
        for shade, name in enumerate(names.values()):
            buffer = io.BytesIO()
            Image.new("RGB", (12, 8), (60 * shade, 80, 90)).save(buffer, "WEBP")
            files[name] = buffer.getvalue()
        items.append({"key": key, "files": names, "width": 12, "height": 8, "change": 0.1, "niqe_rise": 0.5 - number})
    return files | {"gallery.json": json.dumps({"schema_version": 1, "images": items}).encode()}


@pytest.fixture
def other_tenant() -> str:
    return OTHER_TENANT


@dataclass
class Live:
    """A control plane that answers over HTTP, with its reconciler at work."""

    plane: Plane
    url: str
    home: Path

    def client(self, token: str | None = None) -> Client:
        return Client(self.url, token or self.plane.admin_token)


@pytest.fixture
def serve() -> Iterator[Callable[[object, int], str]]:
    """Runs ASGI applications on real sockets."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: object, port: int = 0) -> str:
        listener = socket.socket()
        listener.bind(("127.0.0.1", port))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


def data_plane() -> Starlette:
    """Stands where serving stands: takes an image, gives one back, says which version made it."""

    busy = iter([True])

    async def restore(request: Request) -> Response:
        body = await request.body()
        if body == b"\x89PNGbusy" and next(busy, False):
            return Response(b"{}", 429, headers={"Retry-After": "0"}, media_type="application/problem+json")
        if request.headers["content-type"] != "image/png":
            problem = {"code": "VALIDATION_FAILED", "detail": "NOT_AN_IMAGE: no image", "status": 422}
            return Response(json.dumps(problem), 422, media_type="application/problem+json")
        return Response(
            b"restored " + body,
            headers={"X-Adapter-Version": "3", "X-Fallback": "none"},
            media_type=request.headers["accept"],
        )

    async def ready(request: Request) -> Response:
        return Response(b"ready")

    return Starlette(routes=[Route("/v1/domains/{domain}:restore", restore, methods=["POST"]), Route("/readyz", ready)])


@pytest.fixture
def live(make_plane, serve) -> Iterator[Live]:
    plane = make_plane(reconcile_interval_s=0.1, serve_url=serve(data_plane()))
    url = serve(plane.client.app)
    stop = threading.Event()
    thread = threading.Thread(target=plane.reconciler.run_forever, args=[stop])
    thread.start()
    (plane.settings.home / "client.json").write_text(json.dumps({"url": url, "api_key": plane.admin_token}))
    yield Live(plane, url, plane.settings.home)
    stop.set()
    thread.join(10)
