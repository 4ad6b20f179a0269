"""The connection to SQL: one transaction at a time, and the schema brought up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from udair_platform.errors import SettingsError, StateUnavailable
from udair_platform.state.repositories import State

BUSY_TIMEOUT_S = 10
_READ_ONLY = "udair_read_only"


class Database:
    """Transactions over the platform's state. Safe to share between threads.

    `write()` takes SQLite's write lock at its beginning, so that what a transaction has read is
    still true when it writes, and two writers queue instead of failing halfway.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def write(self) -> Iterator[State]:
        """One transaction: everything in it happens, or nothing does.

        Raises:
            StateUnavailable: The database does not answer or stays locked.
        """
        with self._connection(read_only=False) as connection, connection.begin():
            yield State(connection)

    @contextlib.contextmanager
    def read(self) -> Iterator[State]:
        """One consistent view, never written through.

        Raises:
            StateUnavailable: The database does not answer.
        """
        with self._connection(read_only=True) as connection, connection.begin():
            yield State(connection)

    def ping(self) -> None:
        """Ask something trivial.

        Raises:
            StateUnavailable: There was no answer.
        """
        with self._connection(read_only=True) as connection:
            connection.execute(text("SELECT version_num FROM alembic_version"))

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connection(self, *, read_only: bool) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(**{_READ_ONLY: read_only}) as connection:
                yield connection
        except (OperationalError, PoolTimeout) as error:
            raise StateUnavailable(f"The database does not answer: {_first_line(error)}. Try again.") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise StateUnavailable("The connection to the database broke. Try again.") from error
            raise


def open_database(url: str, *, migrated: bool = True) -> Database:
    """The database at `url`, created and brought to the newest schema unless `migrated` is false.

    Raises:
        SettingsError: The URL names no database that can be opened.
        StateUnavailable: It does not answer.
    """
    engine = _engine(url)
    if migrated:
        _migrate(engine)
    return Database(engine)


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema; does nothing when it is there.

    Raises:
        SettingsError: The URL names no database that can be opened.
        StateUnavailable: It does not answer.
    """
    engine = _engine(url)
    try:
        _migrate(engine)
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Alembic's configuration: the migrations that ship in this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _migrate(engine: Engine) -> None:
    config = alembic_config()
    try:
        with engine.connect() as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise StateUnavailable(f"The database cannot be prepared: {_first_line(error)}.") from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError(f"UDAIR_DATABASE_URL has value {url!r}; expected a file: sqlite:////absolute/file.db.")
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=10, max_overflow=50)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        shown = url.split("@")[-1]
        raise SettingsError(f"UDAIR_DATABASE_URL ({shown!r}) cannot be opened: {_first_line(error)}.") from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(raw: Any, _record: Any) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves; the driver's own habit breaks DDL transactions
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).splitlines()[0] if str(original) else type(original).__name__
