"""The connection to SQL: one transaction at a time, and the schema brought up to date."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from udair_platform.errors import Invalid, SettingsError, StateUnavailable
from udair_platform.state import engines
from udair_platform.state.engines import LOSABLE, READ_ONLY, first_line, make_engine
from udair_platform.state.repositories import State

# Exactly these: their subclasses mean something else.
_DAMAGED = (DatabaseError, sqlite3.DatabaseError)


class Database:
    """Transactions over the platform's state, on SQLite or PostgreSQL. Safe to share between threads.

    Transactions that write come one after the other: what such a transaction has read is still true
    when it writes, and two writers queue instead of failing halfway.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # This process's writers queue here: SQLite would have them ask again and again, ever more seldom.
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def write(self, *, losable: bool = False) -> Iterator[State]:
        """One transaction: everything in it happens, or nothing does.

        Args:
            losable: The machine may lose it if its power fails in the next moment; a process that is killed
                never does, and whatever commits later keeps it. It spares a wait for the disk.

        Raises:
            StateUnavailable: The database does not answer or stays locked.
            Invalid: The database cannot hold a value, e.g. a number that is too large.
        """
        if not self._turn.acquire(timeout=engines.BUSY_TIMEOUT_S):
            raise StateUnavailable(f"The database stayed locked for {engines.BUSY_TIMEOUT_S:g} s. Try again.")
        try:
            with self._connection({LOSABLE: losable}) as connection, connection.begin():
                yield State(connection)
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def read(self) -> Iterator[State]:
        """One consistent view, never written through.

        Raises:
            StateUnavailable: The database does not answer.
        """
        with self._connection({READ_ONLY: True}) as connection, connection.begin():
            yield State(connection)

    def ping(self) -> None:
        """Ask something trivial.

        Raises:
            StateUnavailable: There was no answer.
        """
        with self._connection({READ_ONLY: True}) as connection:
            connection.execute(text("SELECT version_num FROM alembic_version"))

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connection(self, options: Mapping[str, bool]) -> Iterator[Connection]:
        try:
            with self._engine.connect().execution_options(**options) as connection:
                yield connection
        except (OperationalError, PoolTimeout) as error:
            raise StateUnavailable(f"The database does not answer: {first_line(error)}. Try again.") from error
        except (DataError, OverflowError) as error:  # the second is sqlite3's own word for a huge number
            raise Invalid(f"A value cannot be stored or asked for: {first_line(error)}. Choose another.") from error
        except (DBAPIError, sqlite3.DatabaseError) as error:
            if type(error) in _DAMAGED:
                raise _damaged(error) from error
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise StateUnavailable("The connection to the database broke. Try again.") from error
            raise


def open_database(url: str, *, migrated: bool = True) -> Database:
    """The database at `url`, created and brought to the newest schema unless `migrated` is false.

    Raises:
        SettingsError: The URL names no database that can be opened.
        StateUnavailable: It does not answer.
    """
    engine = make_engine(url)
    if migrated:
        _migrate(engine)
    return Database(engine)


def migrate(url: str, to: str | None = None) -> None:
    """Bring the database at `url` to the newest schema, or back to revision `to`; does nothing when it is there.

    Raises:
        SettingsError: The URL names no database that can be opened, or it is of a version that this one does not know.
        StateUnavailable: It does not answer.
    """
    engine = make_engine(url)
    try:
        _migrate(engine, to)
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Alembic's configuration: the migrations that ship in this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _migrate(engine: Engine, to: str | None = None) -> None:
    config = alembic_config()
    try:
        with engine.connect() as connection, connection.begin():
            config.attributes["connection"] = connection
            if to is None:
                command.upgrade(config, "head")
            else:
                command.downgrade(config, to)
    except CommandError as error:
        newest = ScriptDirectory.from_config(config).get_current_head()
        raise SettingsError(
            f"The database cannot be brought to {to or 'the newest schema'}: {error}. This version's schema is "
            f"{newest}; if the database is newer, its own version takes it back: `udair admin migrate --to {newest}`."
        ) from error
    except OperationalError as error:
        raise StateUnavailable(f"The database cannot be prepared: {first_line(error)}.") from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        if type(error) in _DAMAGED:
            raise _damaged(error) from error
        raise


def _damaged(error: Exception) -> StateUnavailable:
    return StateUnavailable(
        f"The database is damaged: {first_line(error)}. Stop the platform and restore its last backup: "
        "`udair admin restore`, docs/operations.md."
    )
