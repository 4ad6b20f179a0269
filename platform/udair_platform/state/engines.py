"""How each kind of database is opened so that it keeps the promises of `Database`.

SQLite: a file in WAL mode. A transaction that may write begins IMMEDIATE, so there is one writer.
PostgreSQL: a transaction that may write first takes one advisory lock, which it holds until it has
committed, so there is one writer too; a transaction that reads sees one snapshot of everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from udair_platform.errors import SettingsError

BUSY_TIMEOUT_S = 10.0
ASLEEP_TIMEOUT_S = 10.0
READ_ONLY, LOSABLE = "udair_read_only", "udair_losable"
_WRITERS = 0x7564616972  # the advisory lock of whoever writes: "udair"
_POOL = {"pool_size": 10, "max_overflow": 50}


def make_engine(url: str) -> Engine:
    """The engine for `url`; nothing is contacted yet.

    Raises:
        SettingsError: The URL names no database that can be opened.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend == "sqlite":
            return _sqlite(parsed)
        if backend == "postgresql":
            return _postgres(parsed)
        known = "sqlite:////absolute/file.db or postgresql://user@host/name"
        raise SettingsError(f"UDAIR_DATABASE_URL names the database {backend!r}; expected {known}.")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"UDAIR_DATABASE_URL ({_shown(url)!r}) cannot be opened: {error}. Run: pip install 'udair[postgres]'"
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError(f"UDAIR_DATABASE_URL ({_shown(url)!r}) cannot be opened: {first_line(error)}.") from error


def first_line(error: Exception) -> str:
    """What the database said, in one line."""
    original = getattr(error, "orig", None) or error
    return str(original).splitlines()[0].rstrip(".") if str(original) else type(original).__name__


def _shown(url: str) -> str:
    return url.split("@")[-1]


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise SettingsError(f"UDAIR_DATABASE_URL has value {str(url)!r}; expected a file: sqlite:////absolute/file.db.")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **_POOL)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(raw: Any, _record: Any) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves; the driver's own habit breaks DDL transactions
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    if _is(connection, READ_ONLY):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous={'NORMAL' if _is(connection, LOSABLE) else 'FULL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres(url: URL) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_driver_name() != "psycopg":
        raise SettingsError(
            f"UDAIR_DATABASE_URL names the driver {url.drivername!r}; expected postgresql:// or postgresql+psycopg://."
        )
    wait_ms, asleep_ms = int(BUSY_TIMEOUT_S * 1000), int(ASLEEP_TIMEOUT_S * 1000)
    defaults = {
        "application_name": "udair",
        "connect_timeout": 5,
        # A server whose machine is gone is noticed within seconds, not hours.
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        # Whoever falls asleep in the middle of a transaction must not hold the others up for ever.
        "options": f"-c lock_timeout={wait_ms} -c idle_in_transaction_session_timeout={asleep_ms}",
    }
    given = {name: value for name, value in defaults.items() if name not in url.query}
    engine = create_engine(url, connect_args=given, pool_pre_ping=True, **_POOL)
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _begin_postgres(connection: Connection) -> None:
    if _is(connection, READ_ONLY):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return
    # READ COMMITTED, so that what is read after the lock is what its last holder left behind.
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
    if _is(connection, LOSABLE):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _is(connection: Connection, option: str) -> bool:
    return bool(connection.get_execution_options().get(option, False))
