"""Backup and restore of the embedded default: a SQLite file, a folder as the store, the signing key.

The database is copied first, with SQLite's own online backup, and the store after it. Whatever the
database's copy refers to was in the store by then and is never altered, so a backup that is taken
under load restores to a consistent platform; what the store has besides is of work that had not been
recorded yet, and the reconciler takes it up again. `backup.json` comes last and makes it a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import make_url

import udair
from udair_jobs.storage import Storage, open_storage
from udair_jobs.storage.folder import FolderStorage
from udair_platform.errors import Conflict, Invalid, SettingsError
from udair_platform.files import beside, write_whole
from udair_platform.settings import Settings

MANIFEST, DATABASE, SIGNING_KEY, STORE = "backup.json", "control.db", "signing.key", "store"
# Where the database names places in the store by their full address.
_ADDRESSES = (("adapter_versions", "candidate_uri"), ("snapshots", "uri"), ("attempts", "output_uri"))


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        store_uri: Where the store was.
        files: Path within the backup -> SHA-256.
        bytes: Of all files.
    """

    time: str
    version: str
    store_uri: str
    files: dict[str, str]
    bytes: int


def back_up(settings: Settings, target: Path, *, now: datetime) -> Backup:
    """Copy the platform of `settings` into the folder `target`, while it works or not.

    Raises:
        SettingsError: The platform does not stand on a SQLite file and a folder.
        Conflict: `target` holds something already.
    """
    database, store = _embedded(settings)
    if not database.exists():
        raise SettingsError(f"There is no database at {database}; nothing can be backed up.")
    _require_empty(target, "Choose another folder for the backup.")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_database(database, target / DATABASE)
    shutil.copy2(settings.signing_key_file, target / SIGNING_KEY)
    for path in _files(Path(store.uri)):
        copy = target / STORE / path.relative_to(store.uri)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # gone since it was listed: nothing needed it
            shutil.copy2(path, copy)
    names = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    files = {name: _sha256(target / name) for name in names}
    size = sum((target / name).stat().st_size for name in names)
    made = Backup(now.isoformat(), udair.__version__, store.uri, files, size)
    write_whole(target / MANIFEST, f"{json.dumps(vars(made), indent=1)}\n".encode())
    return made


def restore(settings: Settings, source: Path) -> Backup:
    """Make the platform of `settings` what the backup in `source` holds. No process of it may run.

    Raises:
        SettingsError: The platform would not stand on a SQLite file and a folder.
        Invalid: `source` is no backup, or a file of it is missing or altered; nothing was written.
        Conflict: There is a platform already.
    """
    database, store = _embedded(settings)
    made = verify(source)
    advice = "Restore to an empty place: move what is there away, or set another UDAIR_HOME."
    for path in (database, settings.signing_key_file, Path(store.uri)):
        _require_empty(path, advice)
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in made.files:
        if name.startswith(f"{STORE}/"):
            target = Path(store.uri) / name.removeprefix(f"{STORE}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target)
    for name, target in ((SIGNING_KEY, settings.signing_key_file), (DATABASE, database)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside(target, mode=0o600) as part:
            shutil.copyfile(source / name, part)
            if name == DATABASE and made.store_uri != store.uri:
                _move_addresses(part, made.store_uri, store.uri)
    return made


def verify(source: Path) -> Backup:
    """The backup in `source`, every file of which has been read again.

    Raises:
        Invalid: There is none, or a file of it is missing or altered.
    """
    try:
        made = Backup(**json.loads((source / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Invalid(f"{source} holds no finished backup ({error}); expected a folder with {MANIFEST}.") from error
    for name, digest in made.files.items():
        if name.startswith("/") or ".." in name.split("/"):
            raise Invalid(f"{MANIFEST} names {name[:120]!r}, which leads out of the backup; nothing was written.")
        path = source / name
        actual = _sha256(path) if path.is_file() else "missing"
        if actual != digest:
            raise Invalid(f"{path} is {actual[:12]}; {MANIFEST} says {digest[:12]}. Take another backup.")
    return made


def _embedded(settings: Settings) -> tuple[Path, Storage]:
    url, store = make_url(settings.database_url), open_storage(settings.store_uri)
    if url.get_backend_name() != "sqlite" or not url.database or not isinstance(store, FolderStorage):
        raise SettingsError(
            f"Only a SQLite file and a folder are backed up here; this platform has {url.get_backend_name()} and "
            f"{store.uri}. Use pg_dump and your bucket's own versioning: docs/operations.md."
        )
    return Path(url.database), store


def _require_empty(path: Path, advice: str) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise Conflict(f"{path} is not empty; nothing was written. {advice}")


def _files(folder: Path) -> Iterator[Path]:
    """What a listing shows; half-written files are not worth keeping."""
    for item in FolderStorage(folder).list():
        yield folder / item.key


def _copy_database(source: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(source.as_uri() + "?mode=ro", uri=True)) as live,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)  # all pages in one go: a writer meanwhile does not make it start again
        copy.execute("PRAGMA journal_mode=DELETE")
        damage = copy.execute("PRAGMA quick_check").fetchone()[0]
    os.chmod(target, 0o600)
    if damage != "ok":
        raise Invalid(f"The database {source} is damaged: {damage}. Restore an earlier backup.")


def _move_addresses(database: Path, before: str, after: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        for table, column in _ADDRESSES:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608 - names of ours
                (f"{after}/", len(before) + 2, len(before) + 1, f"{before}/"),
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
