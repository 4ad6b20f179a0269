"""Parts of a control plane that note every step which leaves a trace, and do something at one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from udair_jobs.storage import Storage
from udair_platform.state.database import Database


class Killed(BaseException):
    """The process is gone. No `except Exception` may notice."""


def die(what: str) -> None:
    """End the process, as far as anybody can tell."""
    raise Killed(what)


@dataclass
class Fuse:
    """Burns one step before and one after everything that leaves a trace; blows at step `at`."""

    at: int = -1
    blow: Callable[[str], None] = die
    burnt: int = 0
    where: list[str] = field(default_factory=list)

    @property
    def blown(self) -> bool:
        """Whether it has."""
        return 0 <= self.at < self.burnt

    def burn(self, what: str) -> None:
        self.burnt += 1
        self.where.append(what)
        if self.burnt - 1 == self.at:
            self.blow(what)


class MortalStore:
    """A store whose user may die just before or after a write."""

    def __init__(self, store: Storage, fuse: Fuse) -> None:
        self._store, self._fuse = store, fuse

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def at(self, prefix: str) -> MortalStore:
        return MortalStore(self._store.at(prefix), self._fuse)

    def put(self, key: str, data: bytes, **options) -> str:
        self._fuse.burn(f"before put {key}")
        etag = self._store.put(key, data, **options)
        self._fuse.burn(f"after put {key}")
        return etag


class MortalDatabase(Database):
    """A database whose user may die just before or after a commit."""

    def __init__(self, database: Database, fuse: Fuse) -> None:
        super().__init__(database._engine)
        self._fuse = fuse

    @contextmanager
    def write(self, *, losable: bool = False) -> Iterator:
        with super().write(losable=losable) as state:
            yield state
            self._fuse.burn("before commit")
        self._fuse.burn("after commit")


class MortalLauncher:
    """A launcher whose user may die just before or after a launch or a stop."""

    def __init__(self, launcher, fuse: Fuse) -> None:
        self._launcher, self._fuse = launcher, fuse

    def __getattr__(self, name: str):
        return getattr(self._launcher, name)

    def launch(self, request) -> None:
        self._fuse.burn("before launch")
        self._launcher.launch(request)
        self._fuse.burn("after launch")

    def stop(self, submission_id: str) -> None:
        self._fuse.burn("before stop")
        self._launcher.stop(submission_id)
        self._fuse.burn("after stop")
