"""The database keeps what it promises: schema, locks, uniqueness, tenants, append-only tables."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError

from udair_platform.entities.job import JobState
from udair_platform.errors import (
    AlreadyExists,
    NotFound,
    SettingsError,
    StaleWrite,
    StateUnavailable,
)
from udair_platform.services import jobs
from udair_platform.state.database import alembic_config, migrate, open_database
from udair_platform.state.engines import make_engine
from udair_platform.state.tables import METADATA


def test_migrations_make_exactly_the_tables_of_the_code_and_can_be_undone(empty_database) -> None:
    url = empty_database()
    migrate(url)
    migrate(url)
    engine = make_engine(url)

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    with engine.connect() as connection, connection.begin():
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        command.upgrade(config, "head")
    engine.dispose()


def test_sqlite_is_opened_for_service(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/control.db")
    with database.read() as state:
        one = state.jobs._connection
        assert one.scalar(text("PRAGMA journal_mode")) == "wal"
        assert one.scalar(text("PRAGMA foreign_keys")) == 1
        assert one.scalar(text("PRAGMA busy_timeout")) >= 5000
    with database.write(losable=True) as state:
        assert state.jobs._connection.scalar(text("PRAGMA synchronous")) == 1
    with database.write() as state:
        assert state.jobs._connection.scalar(text("PRAGMA synchronous")) == 2
    database.close()


def test_processes_that_start_together_both_find_a_migrated_database(empty_database) -> None:
    script = "import sys; from udair_platform.state.database import migrate; migrate(sys.argv[1])"
    words = [sys.executable, "-c", script, empty_database()]

    started = [subprocess.Popen(words) for _ in range(3)]

    assert [process.wait(60) for process in started] == [0, 0, 0]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "nonsense", "oracle+none://x/y", "postgresql+none://x/y"]
)
def test_database_that_cannot_be_opened_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match="UDAIR_DATABASE_URL"):
        open_database(url)


def test_file_that_is_no_database_is_unavailable_or_refused(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"this is no database" * 100)

    with pytest.raises(Exception, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/control.db")


def test_transaction_happens_whole_or_not_at_all(plane) -> None:
    domain = plane.domain()
    with pytest.raises(ZeroDivisionError), plane.change() as tx:
        _submit_and_fail(tx, domain)

    with plane.database.read() as state:
        assert state.jobs.page("acme") == []
        assert state.snapshots.page("acme", domain.id) == []


def _submit_and_fail(tx, domain) -> None:
    jobs.submit(tx, domain, recipe={})
    raise ZeroDivisionError


def test_second_writer_of_the_same_row_is_told(plane) -> None:
    job = plane.submit(plane.domain())
    with plane.change("a") as tx:
        jobs.change(tx, job, JobState.PROVISIONING)

    with pytest.raises(StaleWrite, match=job.id), plane.change("b") as tx:
        jobs.change(tx, job, JobState.PROVISIONING)


def test_concurrent_writers_queue_and_none_is_lost(plane) -> None:
    def step() -> None:
        for _ in range(10):
            with plane.database.write() as state:
                state.counters.step("test")

    threads = [threading.Thread(target=step) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with plane.database.read() as state:
        assert state.counters.value("test") == 40


@pytest.mark.parametrize("table", ["events", "alias_changes"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET actor = 'x'", "DELETE FROM {}"])
def test_history_cannot_be_rewritten(plane, table: str, verb: str) -> None:
    plane.domain()
    with pytest.raises(IntegrityError, match="append-only"), plane.database.write() as state:
        state.events._connection.execute(text(verb.format(table)))


def test_job_yields_at_most_one_version_by_constraint(plane) -> None:
    domain = plane.domain()
    number = plane.version(domain)
    with plane.database.read() as state:
        version = state.versions.get("acme", domain.id, number)

    with pytest.raises(IntegrityError), plane.database.write() as state:
        state.versions.add(replace(version, number=2))


def test_every_question_is_asked_within_a_tenant(plane) -> None:
    domain = plane.domain()
    number = plane.version(domain)
    job = plane.submit(domain)

    with plane.database.read() as state:
        assert state.domains.page("globex") == []
        assert state.jobs.page("globex") == []
        assert state.versions.page("globex", domain.id) == []
        assert state.snapshots.page("globex", domain.id) == []
        assert state.aliases.all("globex", domain.id) == []
        assert state.aliases.history("globex", domain.id, "champion") == []
        assert state.attempts.of_job("globex", job.id) == []
        assert state.events.page("globex", domain_id=domain.id) == []
        for ask in (
            lambda: state.domains.get("globex", domain.name),
            lambda: state.domains.by_id("globex", domain.id),
            lambda: state.jobs.get("globex", job.id),
            lambda: state.snapshots.get("globex", job.snapshot_id),
            lambda: state.versions.get("globex", domain.id, number),
            lambda: state.aliases.get("globex", domain.id, "champion"),
        ):
            with pytest.raises(NotFound):
                ask()


def test_name_is_free_again_after_deletion_and_for_other_tenants(plane, other_tenant: str) -> None:
    plane.domain("foggy-cams")
    plane.domain("foggy-cams", tenant=other_tenant)
    with pytest.raises(AlreadyExists):
        plane.domain("foggy-cams")

    assert plane.client.delete("/v1/domains/foggy-cams").status_code == 204
    plane.domain("foggy-cams")


def test_locked_database_is_unavailable_not_broken(empty_database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("udair_platform.state.engines.BUSY_TIMEOUT_S", 0.05)
    url = empty_database()
    first, second = open_database(url), open_database(url)

    with first.write(), pytest.raises(StateUnavailable, match="lock"), second.write():
        pass
    with second.write() as state:
        state.counters.step("test")
    first.close()
    second.close()


def test_reader_sees_one_moment_and_no_writer_waits_for_it(plane) -> None:
    with plane.database.read() as state:
        before = state.counters.value("test")
        with plane.database.write() as other:
            other.counters.step("test")
        assert state.counters.value("test") == before

    with plane.database.read() as state:
        assert state.counters.value("test") == before + 1


def test_what_a_writer_has_read_stays_true_until_it_commits(plane) -> None:
    """Two transactions that read, decide and write: the second sees what the first decided."""
    seen: list[int] = []
    first_has_read = threading.Event()

    def decide(*, first: bool) -> None:
        with plane.database.write() as state:
            value = state.counters.value("test")
            if first:
                first_has_read.set()
                time.sleep(0.2)  # the other one asks meanwhile
            state.counters.step("test", at_least=value + 10)
            seen.append(value)

    threads = [threading.Thread(target=decide, kwargs={"first": first}) for first in (True, False)]
    threads[0].start()
    first_has_read.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join()

    assert seen == [0, 10]


def test_text_that_one_database_cannot_hold_is_no_fault_of_either(plane) -> None:
    domain = plane.domain()
    with plane.database.write() as state:
        state.domains.save(replace(domain, description="a\0b"))

    with plane.database.read() as state:
        assert state.domains.get("acme", domain.name).description == "a\ufffdb"


def test_aliases_of_many_domains_are_one_question(plane) -> None:
    for number in range(5):
        plane.domain(f"cams-{number}")
    asked: list[str] = []
    event.listen(plane.database._engine, "before_cursor_execute", lambda *call: asked.append(call[2]))

    shown = plane.client.get("/v1/domains").json()["domains"]

    assert [item["champion"] for item in shown] == [0] * 5
    assert sum("FROM aliases" in statement for statement in asked) == 1


def test_a_database_of_the_last_of_the_six_first_revisions_is_opened_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript((Path(__file__).parent / "schema_0006.sql").read_text())
        old.execute("INSERT INTO tenants (id, created_time) VALUES ('acme', '2026-11-26 00:00:00.000000')")
        old.commit()

    migrate(f"sqlite:///{path}")

    with make_engine(f"sqlite:///{path}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    with open_database(f"sqlite:///{path}").read() as state:
        assert state.tenants.get("acme").created_time.year == 2026


def test_a_database_of_a_newer_version_says_so_and_its_own_version_takes_it_back(empty_database) -> None:
    url = empty_database()
    migrate(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        newest = MigrationContext.configure(connection).get_current_revision()
    migrate(url, "0008")
    with engine.begin() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0008"
    migrate(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match=f"9999.*This version's schema is {newest}.*admin migrate --to {newest}"):
        migrate(url)
    engine.dispose()
