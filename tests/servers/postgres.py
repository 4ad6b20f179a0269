"""A real PostgreSQL on loopback, as Debian installs it; every test gets a database of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
from itertools import count
from pathlib import Path

import psycopg

NEEDED = ("initdb", "pg_ctl", "postgres")
ADVICE = "PostgreSQL is needed; install it first: apt-get install -y --no-install-recommends postgresql"


class PostgresServer:
    """One server in `folder`, which only its own user can enter.

    PostgreSQL refuses to run as root, so root starts it as the user `postgres`.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if missing:
            raise RuntimeError(f"{', '.join(missing)} not found. {ADVICE}")
        self._folder, self._numbers = folder, count()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        folder.mkdir(parents=True, mode=0o700)
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self) -> None:
        """Answer from here on; returns when it does."""
        # Durability is PostgreSQL's own affair; without it a new database takes milliseconds.
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-o", options, "-l", f"{self._folder}/log", "-w", "start")

    def stop(self) -> None:
        """Break every connection and answer no more."""
        self._run("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def create(self, template: str = "template1") -> str:
        """The URL of a new database: empty, or a copy of `template`, which nobody may be using."""
        name = f"test_{next(self._numbers)}"
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        """Remove the database at `url`, whoever is connected."""
        self._administer(f'DROP DATABASE IF EXISTS "{name_of(url)}" WITH (FORCE)')

    def _administer(self, statement: str) -> None:
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, *words: str) -> None:
        command = list(words)
        if os.getuid() == 0:
            command = ["su", "postgres", "-s", "/bin/sh", "-c", shlex.join(words)]
        # To a file: the server inherits the streams, and a pipe would stay open as long as it runs.
        with (self._folder / "commands.log").open("ab") as log:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", check=False)
        if done.returncode:
            said = (self._folder / "commands.log").read_text()[-2000:]
            raise RuntimeError(f"{words[0]} ended with status {done.returncode}. The end of what it said:\n{said}")


def name_of(url: str) -> str:
    """The database's name in `url`."""
    return url.rpartition("/")[2]
