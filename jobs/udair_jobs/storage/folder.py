"""A folder as an object store: atomic writes, compare-and-set, and no way out of the root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from udair_jobs.errors import (
    AccessDenied,
    InvalidKey,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.storage.contract import ObjectInfo, Storage, UploadForm, checked_key, checked_prefix

# Half-written files carry this prefix; listings never show them.
_PART = ".udair-part-"


class FolderStorage(Storage):
    """Objects are files below `root`; an etag is the file's modification time and size.

    Writers in any number of processes on one machine are serialised per folder by `flock`. Symbolic
    links that lead out of the root are listed and refused when read.
    """

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))

    @property
    def uri(self) -> str:
        """The absolute folder."""
        return str(self._root)

    def __repr__(self) -> str:
        return f"FolderStorage({self.uri!r})"

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Files whose key starts with `prefix`, sorted by key; a missing folder holds none."""
        if prefix:
            checked_key(self.uri, prefix.rstrip("/") or prefix)
        above = self._root / prefix.rpartition("/")[0]
        found: list[tuple[str, Path]] = []
        try:
            for folder, _, names in os.walk(above, onerror=self._refuse_listing):
                for name in names:
                    path = Path(folder, name)
                    key = path.relative_to(self._root).as_posix()
                    if key.startswith(prefix) and not name.startswith(_PART):
                        found.append((key, path))
        except OSError as error:
            raise self._mapped(error, prefix) from error
        for key, path in sorted(found):
            # A file deleted between the walk and here is simply not listed; so is a dangling link.
            with contextlib.suppress(FileNotFoundError):
                yield _info(key, path.stat())

    def head(self, key: str) -> ObjectInfo:
        """Size, etag and time of one file."""
        path = self._path(key)
        try:
            stat = path.stat()
        except OSError as error:
            raise self._mapped(error, key) from error
        if not path.is_file():
            raise NotFound(f"{self.uri}/{key}", "is a folder, not an object.")
        return _info(key, stat)

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """The file's content; etag, size and content are of one and the same file."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                info = _info(key, os.fstat(file.fileno()))
                if if_match is not None and info.etag != if_match.strip('"'):
                    raise self._precondition(key, f"changed: its etag is {info.etag}; expected {if_match}.")
                if max_bytes is not None and info.size > max_bytes:
                    raise TooLarge(f"{self.uri}/{key}", f"has {info.size} bytes; expected at most {max_bytes}.")
                return file.read()
        except OSError as error:
            raise self._mapped(error, key) from error

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write beside the target, then link or rename it into place."""
        path = self._path(key)
        part = path.parent / f"{_PART}{secrets.token_hex(8)}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise InvalidKey(f"{self.uri}/{key}", "is a folder already; choose another key.")
            try:
                with part.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                with _locked(path.parent):
                    before = _stat(path)
                    if if_absent and before is not None:
                        raise self._precondition(key, "exists already; expected it to be absent.")
                    if if_match is not None:
                        etag = _info(key, before).etag if before else None
                        if etag != if_match.strip('"'):
                            raise self._precondition(key, f"changed: its etag is {etag}; expected {if_match}.")
                    # Kernels stamp files in ticks of milliseconds; an etag must differ after every write.
                    now = max(time.time_ns(), before.st_mtime_ns + 1 if before else 0)
                    os.utime(part, ns=(now, now))
                    after = _info(key, part.stat())
                    if if_absent:
                        os.link(part, path)  # fails if somebody without the lock was faster
                    else:
                        part.replace(path)
                    return after.etag
            finally:
                part.unlink(missing_ok=True)
        except FileExistsError as error:
            raise self._precondition(key, "exists already; expected it to be absent.") from error
        except OSError as error:
            raise self._mapped(error, key) from error

    def delete(self, key: str) -> None:
        """Remove the file; folders that become empty stay."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise self._mapped(error, key) from error

    def at(self, prefix: str) -> FolderStorage:
        """A deeper folder; it need not exist."""
        deeper = checked_prefix(self.uri, prefix)
        return FolderStorage(self._root / deeper) if deeper else self

    def presign_get(self, key: str, expires_s: int = 900) -> str:
        """A `file://` URL; a folder has no expiry."""
        self.head(key)
        return self._path(key).as_uri()

    def presign_post(self, key: str, *, max_bytes: int, expires_s: int = 900) -> UploadForm:
        """Refused: nothing listens in front of a folder."""
        raise StorageError(self.uri, f"is a folder, which takes no upload of {key}; put the file there.")

    def abandoned(self, before: datetime) -> Iterator[Path]:
        """Half-written files that nobody has touched since `before`: their writers were killed."""
        for path in sorted(self._root.rglob(f"{_PART}*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    yield path

    def _path(self, key: str) -> Path:
        checked_key(self.uri, key)
        if "//" in key or key.endswith("/"):
            raise InvalidKey(self.uri, f"key {key!r} has an empty segment; expected a path such as 'a/b.png'.")
        if key.rpartition("/")[2].startswith(_PART):
            raise InvalidKey(self.uri, f"key {key!r} starts with {_PART!r}, which marks half-written files.")
        path = self._root / key
        try:
            inside = path.resolve().is_relative_to(self._root.resolve())
        except (OSError, RuntimeError) as error:  # a loop of links, or a name longer than the disk allows
            raise InvalidKey(self.uri, f"key {key[:200]!r} cannot be resolved: {error}.") from error
        if not inside:
            raise InvalidKey(self.uri, f"key {key!r} leads out of the folder; links may only point inside it.")
        return path

    def _refuse_listing(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    def _precondition(self, key: str, message: str) -> PreconditionFailed:
        return PreconditionFailed(f"{self.uri}/{key}", message)

    def _mapped(self, error: OSError, key: str) -> StorageError:
        uri = f"{self.uri}/{key}" if key else self.uri
        why = error.strerror or str(error)
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return NotFound(uri, "does not exist.")
        if isinstance(error, IsADirectoryError):
            return NotFound(uri, "is a folder, not an object.")
        if isinstance(error, PermissionError):
            return AccessDenied(uri, f"{why}; give user id {os.getuid()} access to it.")
        return StorageUnavailable(uri, f"{why}.")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The folder itself is locked, so that no lock files lie about.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _info(key: str, stat: os.stat_result) -> ObjectInfo:
    modified = datetime.fromtimestamp(stat.st_mtime_ns / 1e9, UTC).isoformat(timespec="milliseconds")
    return ObjectInfo(key, stat.st_size, f"{stat.st_mtime_ns:x}-{stat.st_size:x}", modified)
