"""Files that are there whole or not at all, whoever reads and whatever crashes."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(path: Path, *, mode: int = 0o666, replace: bool = True) -> Iterator[Path]:
    """An empty file next to `path`, which takes its name when the body has written it.

    Args:
        mode: Of the file, less the umask.
        replace: Whether it may take the place of another.

    Raises:
        FileExistsError: It may not, and there is one; that one stays.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    try:
        yield part
        if replace:
            part.replace(path)
        else:
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, mode: int = 0o666, replace: bool = True, sync: bool = False) -> None:
    """Write `data` under the name `path`; with `sync` it is on the disk before it has that name. See `beside`."""
    with beside(path, mode=mode, replace=replace) as part, part.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
