"""Pictures that were tried, kept for a while, and the links that show them to people without a key.

A trial is a folder of the platform's store: the picture as the camera saw it, the restored one, and what was said. It is
kept for an hour, or as long as its link is good; a tenant has at most `MOST` of them.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_platform.documents import store_paths
from udair_platform.errors import Invalid, NotFound, StoreDown
from udair_platform.signing import Purpose
from udair_platform.state.repositories import State
from udair_platform.tickets import Forged, Over, Tickets

KEPT = timedelta(hours=1)
LIVES: Mapping[str, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
MOST = 50  # trials of a tenant; the oldest make room, those that are shared last
CAMERA, RESTORED, _RECORD = "camera", "restored", "trial.json"
_ID = re.compile(r"[0-9]{13}-[0-9a-f]{16}")
_MAX_RECORD_BYTES, _MAX_PICTURE_BYTES = 2**18, 2**28


@dataclass(frozen=True)
class Trial:
    """One picture that was tried.

    Attributes:
        id: Its folder; begins with the time.
        kid: The key that asked.
        domain: Empty for the base model alone.
        version: That was asked for, in words.
        name: Of the file or object.
        until: When it is deleted, seconds since the epoch.
        shared_until: When its link ends; None: it has none.
        seconds: From the question to the answer.
        headers, seen: What the data plane says of it.
    """

    id: str
    tenant: str
    kid: str
    domain: str
    version: str
    name: str
    made: float
    until: float
    seconds: float
    media_type: str
    width: int
    height: int
    shared_until: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seen: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        """Of the pictures' file names."""
        return ".jpg" if self.media_type == "image/jpeg" else ".png"


def keep(store: Storage, trial: Trial, camera: bytes, restored: bytes) -> None:
    """Keep a trial with its pictures; the record last, so that what has one is whole.

    Raises:
        StoreDown: The store does not take it.
    """
    folder = _folder(store, trial.tenant, trial.id)
    try:
        folder.put(CAMERA, camera)
        folder.put(RESTORED, restored)
    except StorageError as error:
        raise StoreDown(f"The picture could not be kept: {error}") from error
    _write(store, trial)


def find(store: Storage, tenant: str, id: str, *, now: datetime) -> Trial:
    """A trial that is still kept.

    Raises:
        NotFound: Its time is over, or there never was one.
        StoreDown: The store does not answer.
    """
    gone = NotFound("This picture is no longer kept. Try it again.")
    if not _ID.fullmatch(id):
        raise gone
    try:
        record = _folder(store, tenant, id).get(_RECORD, max_bytes=_MAX_RECORD_BYTES)
        trial = _read(record)
    except (NoObject, ValueError, TypeError, KeyError):
        raise gone from None
    except StorageError as error:
        raise StoreDown(f"The picture cannot be read now: {error}") from error
    if now.timestamp() >= trial.until:
        raise gone
    return trial


def picture_of(store: Storage, trial: Trial, kind: str) -> bytes:
    """One of its two pictures: camera or restored.

    Raises:
        NotFound: It is gone.
        StoreDown: The store does not answer.
    """
    try:
        return _folder(store, trial.tenant, trial.id).get(kind, max_bytes=_MAX_PICTURE_BYTES)
    except NoObject as error:
        raise NotFound("This picture is no longer kept. Try it again.") from error
    except StorageError as error:
        raise StoreDown(f"The picture cannot be read now: {error}") from error


def share(store: Storage, trial: Trial, life: str, *, kid: str, tickets: Tickets) -> str:
    """A link's token: whoever has it sees this trial, without a key, until its time is over, the key `kid` ends, or it is taken back.

    Raises:
        Invalid: There is no such life.
    """
    if life not in LIVES:
        raise Invalid(f"A link lives for {life[:20]!r}; expected one of {', '.join(LIVES)}.")
    token, ends = tickets.give(Purpose.SHARE, [trial.tenant, trial.id, kid], LIVES[life])
    until = ends.timestamp()
    _write(store, replace(trial, shared_until=until, until=max(trial.until, until)))
    return token


def unshare(store: Storage, trial: Trial) -> None:
    """Take every link of it back."""
    _write(store, replace(trial, shared_until=None))


def shared(store: Storage, state: State, token: str, tickets: Tickets) -> Trial:
    """The trial that a link shows.

    Raises:
        NotFound: The link has ended, was taken back, or is none of ours; nobody is told which.
        StoreDown: The store does not answer.
    """
    ended = NotFound("This link ended. Ask whoever sent it for another one.")
    try:
        (tenant, id, kid), _ = tickets.open(Purpose.SHARE, token)
    except (Forged, Over):
        raise ended from None
    key, now = state.keys.find(tenant, kid), tickets.clock()
    if key is None or not key.good_at(now):
        raise ended
    try:
        trial = find(store, tenant, id, now=now)
    except NotFound:
        raise ended from None
    if trial.shared_until is None:
        raise ended
    return trial


def prune(store: Storage, tenant: str, *, now: datetime) -> int:
    """Delete what is no longer kept, and the oldest where there are more than `MOST`; how many went.

    Raises:
        StoreDown: The store does not answer.
    """
    folder = store.at(store_paths.trials(tenant))
    try:
        keys = sorted(item.key for item in folder.list())
        files: dict[str, list[str]] = {}
        for key in keys:
            files.setdefault(key.partition("/")[0], []).append(key)
        kept = {}
        for id in files:
            with contextlib.suppress(NoObject, ValueError, TypeError, KeyError):
                trial = _read(folder.get(f"{id}/{_RECORD}", max_bytes=_MAX_RECORD_BYTES))
                if now.timestamp() < trial.until:
                    kept[id] = trial
        # A folder without a record is being written, or was never finished.
        young = f"{int((now - KEPT).timestamp() * 1000):013d}"
        going = [id for id in files if id not in kept and (id < young or f"{id}/{_RECORD}" in files[id])]
        oldest = sorted(kept, key=lambda id: (kept[id].shared_until is not None, id))
        going += oldest[: max(0, len(oldest) - MOST)]
        for id in going:
            for key in sorted(files[id], reverse=True):  # the record first
                folder.delete(key)
    except NoObject:
        return 0
    except StorageError as error:
        raise StoreDown(f"Trials cannot be deleted now: {error}") from error
    return len(going)


def _write(store: Storage, trial: Trial) -> None:
    try:
        _folder(store, trial.tenant, trial.id).put(_RECORD, json.dumps(asdict(trial)).encode())
    except StorageError as error:
        raise StoreDown(f"The picture could not be kept: {error}") from error


def _read(record: bytes) -> Trial:
    data = json.loads(record)
    return Trial(**{**data, "seen": tuple(data["seen"])})


def _folder(store: Storage, tenant: str, id: str) -> Storage:
    return store.at(f"{store_paths.trials(tenant)}/{id}")
