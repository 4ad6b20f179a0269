"""What only a database server can do to the control plane: stop, break connections, wait for sleepers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgres import PostgresServer
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from udair_platform.entities.event import Event
from udair_platform.errors import SettingsError, StateUnavailable
from udair_platform.settings import load_settings
from udair_platform.state.database import Database, open_database

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


def test_driver_is_chosen_and_others_are_refused(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(url.replace("postgresql://", "postgresql+psycopg://")).close()
    assert load_settings(home=tmp_path, database_url=url).database_url == url
    with pytest.raises(SettingsError, match="expected postgresql://"):
        open_database(url.replace("postgresql://", "postgresql+pg8000://"))
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'udair\[postgres\]'"):
        open_database(url)


@pytest.mark.parametrize("table", ["events", "alias_changes"])
def test_history_cannot_be_emptied(database: Database, table: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), database.write() as state:
        state.events._connection.execute(text(f"TRUNCATE {table}"))


def test_only_what_may_be_lost_does_not_wait_for_the_disk(database: Database) -> None:
    for losable, waits in ((True, "off"), (False, "on")):
        with database.write(losable=losable) as state:
            assert state.events._connection.scalar(text("SHOW synchronous_commit")) == waits


def test_server_that_stops_is_unavailable_and_is_found_again(postgres: PostgresServer, database: Database) -> None:
    with database.read():
        pass  # a connection that lies ready in the pool

    def stop_halfway() -> None:
        with database.write() as state:
            postgres.stop()
            state.counters.step("test")

    with pytest.raises(StateUnavailable):
        stop_halfway()
    try:
        for _ in range(2):
            with pytest.raises(StateUnavailable), database.read() as state:
                state.counters.value("test")
        with pytest.raises(StateUnavailable):
            database.ping()
    finally:
        postgres.start()

    database.ping()
    with database.write() as state:
        assert state.counters.step("test") == 1


def test_connection_that_is_broken_costs_its_transaction_only(database: Database) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() AND datname = "

    def break_halfway() -> None:
        with database.write() as state:
            state.counters.step("test")
            with database.read() as other:
                other.events._connection.execute(text(others + "current_database()"))
            state.counters.step("test")

    with pytest.raises(StateUnavailable):
        break_halfway()

    with database.read() as state:
        assert state.counters.value("test") == 0


def test_api_says_503_while_the_server_is_away_and_recovers(plane, postgres: PostgresServer, on_postgres) -> None:
    if on_postgres is None:
        pytest.skip("needs --postgres")
    job = plane.submit(plane.domain())
    postgres.stop()
    try:
        reply = plane.client.get("/v1/domains")
        assert (reply.status_code, reply.json()["code"]) == (503, "STATE_UNAVAILABLE")
        assert plane.client.get("/readyz").status_code == 503
        with pytest.raises(StateUnavailable):
            plane.reconciler.tick()
    finally:
        postgres.start()

    assert plane.client.get("/readyz").status_code == 200
    assert plane.settle(job.id).state == "SUCCEEDED"


def test_writer_that_falls_asleep_does_not_hold_the_others_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(url).close()
    with monkeypatch.context() as short:
        short.setattr("udair_platform.state.engines.ASLEEP_TIMEOUT_S", 0.3)
        sleeper = open_database(url, migrated=False)
    other = open_database(url)

    def sleep_halfway() -> None:
        with sleeper.write() as state:
            state.counters.step("test")
            with other.write() as theirs:  # waits for the lock until the server ends the sleeper
                assert theirs.counters.step("test") == 1
            state.counters.step("test")

    with pytest.raises(StateUnavailable):
        sleep_halfway()

    with sleeper.read() as state:
        assert state.counters.value("test") == 1
    sleeper.close()
    other.close()


def test_events_are_numbered_in_the_order_of_their_commits(database: Database) -> None:
    """Whoever has read up to a number has missed nothing below it."""
    stop, seen, late = threading.Event(), [0], []

    def write() -> None:
        for _ in range(20):
            with database.write() as state:
                state.events.add(Event("acme", datetime.now(UTC), "me", "test", "key", "k", "key.created"))
                time.sleep(0.002)

    def read() -> None:
        while not stop.is_set():
            with database.read() as state:
                numbers = [event.seq for event in state.events.page("acme", size=1000)]
            late.extend(number for number in numbers if number <= seen[-1] and number not in seen)
            seen.extend(number for number in numbers if number > seen[-1])

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()

    assert late == []
