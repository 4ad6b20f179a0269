"""Adapters on their way to the bank: one download for many requests, verified, with a copy on disk.

Tiers: rows of the bank on the device, files on this machine, the platform's store. A file's name is
the SHA-256 of its content, so that no copy is ever stale: a new version is another name.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from udair.adaptation.adapter import adapter_from_bytes
from udair.adaptation.bank import AdapterBank
from udair.bundle import Bundle
from udair.errors import AdapterError
from udair.models.modulation import Modulation
from udair_jobs.published.candidates import ADAPTER
from udair_jobs.storage import NotFound, Storage, StorageError
from udair_platform.files import write_whole
from udair_platform.serving.routing.table import Target
from udair_platform.telemetry import logger

_MAX_BYTES = 16 * 2**20
_REFUSED_S = 30.0  # how long a refusal is believed without looking again
_log = logger("serving")


class Unreachable(Exception):
    """The store does not answer; the adapter may be fine."""


class AdapterRefused(Exception):
    """The adapter can never be used here: damaged, gone, or made for another base model or intent."""


class Adapters:
    """Gives rows of adapters, from wherever they are.

    Args:
        bundle: The base model.
        slots: Adapters resident on the device.
        disk: Folder of the copies; survives a restart, may be shared by replicas of one machine.
        store: The platform's store; adapters elsewhere are not loaded.
        disk_bytes: The oldest used copies beyond this are deleted.
        on_load: Told of every load: where it came from (``disk`` or ``store``) and its seconds.
    """

    def __init__(
        self,
        bundle: Bundle,
        slots: int,
        disk: Path,
        *,
        store: Storage,
        disk_bytes: int = 2**30,
        on_load: Callable[[str, float], None] = lambda tier, seconds: None,
    ) -> None:
        self.bank = AdapterBank(bundle.model, bundle.digest, slots)
        self._bundle, self._disk, self._disk_bytes = bundle, disk, disk_bytes
        self._store, self._on_load = store, on_load
        self._loading: dict[str, asyncio.Task[Modulation | None]] = {}
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self.hits = self.misses = 0
        disk.mkdir(mode=0o700, parents=True, exist_ok=True)

    def resident(self, target: Target) -> bool:
        """Whether a row of `target` is there at once; the source model always is."""
        return target.row_name is None or target.row_name in self.bank

    async def row(self, target: Target) -> Modulation | None:
        """The row of `target`, None for the source model; many callers share one load.

        Raises:
            Unreachable: It is neither here nor can it be fetched now.
            Refused: It can never be used here.
        """
        name = target.row_name
        if name is None:
            return None
        row = self.bank.row(name)
        if row is not None:
            self.hits += 1
            return row
        self.misses += 1
        if name not in self._loading:
            task = asyncio.create_task(asyncio.to_thread(self.load, target))
            self._loading[name] = task
            task.add_done_callback(lambda _: self._loading.pop(name, None))
        # A caller that goes away does not end the load that others wait for.
        return await asyncio.shield(self._loading[name])

    def load(self, target: Target) -> Modulation | None:
        """Make an adapter resident, in this thread, and give its row; None for the source model.

        Raises:
            Unreachable: It cannot be fetched now.
            Refused: It can never be used here; the store is asked again after a while only.
        """
        digest, name = target.adapter_digest, target.row_name
        if digest is None or name is None:
            return None
        began = time.perf_counter()
        until, why = self._refused.get(name, (0.0, ""))
        if time.monotonic() < until:
            raise AdapterRefused(why)
        try:
            tier, data = "disk", self._from_disk(digest)
            if data is None:
                tier, data = "store", self._from_store(digest, target.candidate_uri or "")
                self._to_disk(digest, data)
            try:
                adapter = adapter_from_bytes(data, self._bundle.digest, self._bundle.model, target.tone)
            except AdapterError as error:
                raise AdapterRefused(str(error)) from error
        except AdapterRefused as error:
            self._refused[name] = (time.monotonic() + _REFUSED_S, str(error))
            while len(self._refused) > 1000:
                self._refused.popitem(last=False)
            raise
        row = self.bank.put(name, adapter)
        spent = time.perf_counter() - began
        self._on_load(tier, spent)
        _log.info("adapter_loaded", digest=digest, tier=tier, load_ms=round(1000 * spent, 1))
        return row

    def _from_disk(self, digest: str) -> bytes | None:
        path = self._disk / digest
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                os.utime(path)  # its age is when it was last used
                return data
            _log.warning("disk_copy_damaged", digest=digest)
            path.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("disk_copy_unreadable", digest=digest, error=str(error))
        return None

    def _from_store(self, digest: str, uri: str) -> bytes:
        prefix = f"{self._store.uri}/"
        if not uri.startswith(prefix):
            raise AdapterRefused(f"{uri} is not below the platform's store {self._store.uri}.")
        try:
            data = self._store.get(f"{uri.removeprefix(prefix)}/{ADAPTER}", max_bytes=_MAX_BYTES)
        except NotFound as error:
            raise AdapterRefused(f"{uri}/{ADAPTER} does not exist: {error}") from error
        except StorageError as error:
            raise Unreachable(f"{uri}/{ADAPTER} cannot be read: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise AdapterRefused(f"{uri}/{ADAPTER} has sha256 {found[:12]}; its route says {digest[:12]}.")
        return data

    def _to_disk(self, digest: str, data: bytes) -> None:
        try:
            write_whole(self._disk / digest, data, mode=0o600)
            self._trim()
        except OSError as error:  # a full disk costs a download, not an answer
            _log.warning("disk_copy_not_kept", digest=digest, error=str(error))

    def _trim(self) -> None:
        entries = []
        for path in self._disk.iterdir():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            entries.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._disk_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
