"""Database and store compared: what one promises and the other does not hold.

A check only reads. What it finds says whether mending it is safe; only that is ever mended. Whatever
needs a decision (which version shall serve, whether an object may go) stays a person's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import Storage, StorageError
from udair_jobs.storage.folder import FolderStorage
from udair_platform.documents import routes, store_paths
from udair_platform.entities.alias import CHAMPION, Alias
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.job import ATTEMPT_TERMINAL, Attempt, AttemptState, Job
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.entities.snapshot import Snapshot, SnapshotState
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import CandidateInvalid, StoreDown
from udair_platform.services import versions
from udair_platform.state.database import Database
from udair_platform.state.repositories import ALL_TENANTS

PART_AGE = timedelta(hours=24)


class Kind(StrEnum):
    """What can be wrong, worst first."""

    CANDIDATE_DAMAGED = "CANDIDATE_DAMAGED"
    ALIAS_BROKEN = "ALIAS_BROKEN"
    SNAPSHOT_GONE = "SNAPSHOT_GONE"
    ATTEMPT_GONE = "ATTEMPT_GONE"
    ATTEMPT_OPEN = "ATTEMPT_OPEN"
    ROUTES_BEHIND = "ROUTES_BEHIND"
    UNREFERENCED = "UNREFERENCED"
    PART_STALE = "PART_STALE"


_WORST_FIRST = {kind: place for place, kind in enumerate(Kind)}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: Name of the noun, or a key of the store.
        advice: What to do about it.
        safe: `mend` does that.
    """

    kind: Kind
    what: str
    detail: str
    advice: str
    safe: bool = False


@dataclass(frozen=True)
class _Known:
    """What the database says, as of one moment."""

    domains: dict[str, Domain]
    jobs: dict[str, Job]
    attempts: Sequence[Attempt]
    snapshots: dict[str, Snapshot]
    versions: dict[tuple[str, int], AdapterVersion]
    aliases: Sequence[Alias]
    base: RegisteredModel | None

    def version_name(self, domain_id: str, number: int) -> str:
        """How people call a version."""
        domain = self.domains[domain_id]
        return f"{domain.tenant}/{domain.name}@{number}"


def check(database: Database, store: Storage, *, now: datetime) -> list[Finding]:
    """Everything that is wrong, worst first. Reads every candidate's files again.

    Safe beside a platform that works: what the database promises is read before the store is listed, and
    what it knows of the objects there is read after that.

    Raises:
        StateUnavailable: The database does not answer.
        StoreDown: The store does not answer.
    """
    known = _read(database)
    keys = _keys(store)
    found = [
        *_candidates(known, store),
        *_aliases(known),
        *_snapshots(known, store, keys),
        *_attempts(known, keys),
        *_routes(database, store),
        *_unreferenced(_read(database), keys),
        *_parts(store, now),
    ]
    return sorted(found, key=lambda finding: (_WORST_FIRST[finding.kind], finding.what))


def mend(database: Database, store: Storage, findings: Iterable[Finding]) -> list[Finding]:
    """Do what is safe about `findings`; returns what was mended.

    Raises:
        StateUnavailable: The database does not answer.
        StoreDown: The store does not answer.
    """
    safe = [finding for finding in findings if finding.safe]
    for finding in safe:
        if finding.kind is Kind.ROUTES_BEHIND:
            routes.publish(database, store, everything=True)
        elif finding.kind is Kind.PART_STALE:
            Path(finding.what).unlink(missing_ok=True)
    return safe


def _read(database: Database) -> _Known:
    with database.read() as state:
        return _Known(
            {item.id: item for item in state.domains.every()},
            {item.id: item for item in state.jobs.every()},
            state.attempts.every(),
            {item.id: item for item in state.snapshots.every()},
            {(item.domain_id, item.number): item for item in state.versions.every()},
            state.aliases.all(ALL_TENANTS),
            state.bases.current(),
        )


def _keys(store: Storage) -> set[str]:
    try:
        return {item.key for item in store.list("t/")}
    except NoObject:
        return set()
    except StorageError as error:
        raise StoreDown(f"The store cannot be listed: {error}") from error


def _candidates(known: _Known, store: Storage) -> Iterator[Finding]:
    for version in known.versions.values():
        if version.state is VersionState.DELETED:
            continue
        name = known.version_name(version.domain_id, version.number)
        try:
            candidate = versions.verify(versions.folder_of(store, version), base_digest=version.base_digest)
            if candidate.manifest.digest == version.adapter_digest:
                continue
            detail = f"its adapter is {candidate.manifest.digest[:12]}; registered was {version.adapter_digest[:12]}"
        except CandidateInvalid as error:
            detail = error.detail
        advice = "restore its folder from a backup; if it serves, roll back and adapt again"
        yield Finding(Kind.CANDIDATE_DAMAGED, name, detail, advice)


def _aliases(known: _Known) -> Iterator[Finding]:
    for alias in known.aliases:
        if alias.version == SOURCE_VERSION:
            continue
        version = known.versions.get((alias.domain_id, alias.version))
        name = f"{known.version_name(alias.domain_id, alias.version)} ({alias.name})"
        if version is None:
            yield Finding(Kind.ALIAS_BROKEN, name, "there is no such version", "move the alias: udair rollback")
        elif alias.name == CHAMPION and version.state is not VersionState.ACTIVE:
            yield Finding(Kind.ALIAS_BROKEN, name, f"it is {version.state} and serves", "roll back or promote another")
        elif alias.name == CHAMPION and known.base and version.base_digest != known.base.digest:
            detail = f"made for base model {version.base_digest[:12]}; {known.base.digest[:12]} serves"
            advice = "the source model serves the domain meanwhile: adapt again on the current base model"
            yield Finding(Kind.ALIAS_BROKEN, name, detail, advice)


def _snapshots(known: _Known, store: Storage, keys: set[str]) -> Iterator[Finding]:
    for snapshot in known.snapshots.values():
        inside = snapshot.uri.removeprefix(f"{store.uri}/")
        if snapshot.state is SnapshotState.ACTIVE and f"{inside}/{store_paths.SUMMARY}" not in keys:
            advice = "it cannot be used again: adapt without --snapshot, which makes a new one"
            yield Finding(Kind.SNAPSHOT_GONE, snapshot.id, f"{snapshot.uri}/{store_paths.SUMMARY} is missing", advice)


def _attempts(known: _Known, keys: set[str]) -> Iterator[Finding]:
    for attempt in known.attempts:
        job = known.jobs[attempt.job_id]
        domain = known.domains[job.domain_id]
        folder = store_paths.attempt(job.tenant, domain.name, job.id, attempt.number)
        if attempt.state is not AttemptState.PENDING and f"{folder}/{store_paths.SPEC}" not in keys:
            detail = f"{folder} is missing, and the attempt is {attempt.state}"
            advice = "restore the folder from a backup; an attempt that ended needs it for its log only"
            yield Finding(Kind.ATTEMPT_GONE, attempt.submission_id, detail, advice)
        if attempt.state not in ATTEMPT_TERMINAL and job.done:
            detail = f"it is {attempt.state}, and its job is {job.state}"
            advice = "see that nothing of it runs any more; tell us: this must not happen"
            yield Finding(Kind.ATTEMPT_OPEN, attempt.submission_id, detail, advice)


def _routes(database: Database, store: Storage) -> Iterator[Finding]:
    shown = routes.read(store)  # first: the database is never behind what was written from it
    with database.read() as state:
        wanted = routes.render(state)
    if shown != wanted:
        at = "missing" if shown is None else f"of generation {shown['generation']}"
        detail = f"it is {at}; the database has generation {wanted['generation']}"
        yield Finding(Kind.ROUTES_BEHIND, store_paths.ROUTES, detail, "it is rendered and written again", safe=True)


def _unreferenced(known: _Known, keys: set[str]) -> Iterator[Finding]:
    names = {(domain.tenant, domain.name) for domain in known.domains.values()}
    strays = Counter(stray for key in keys if (stray := _stray(known, names, key)))
    for folder, count in strays.items():
        advice = "nothing needs it unless the database was restored from an older copy; remove it by hand"
        yield Finding(Kind.UNREFERENCED, folder, f"{count} objects that the database does not know", advice)


def _stray(known: _Known, names: set[tuple[str, str]], key: str) -> str | None:
    """The folder around `key` that nobody references, or None: t/TENANT/d/NAME/jobs|snapshots|…/ID/…"""
    parts = key.split("/")
    if len(parts) < 6 or parts[2] != "d":
        return key
    if (parts[1], parts[3]) not in names:
        return "/".join(parts[:4])
    kind, id = parts[4], parts[5]
    if (kind == "jobs" and id not in known.jobs) or (kind == "snapshots" and id not in known.snapshots):
        return "/".join(parts[:6])
    if kind == "jobs" and parts[6:7] == ["attempts"] and not _is_attempt(parts[7:8], known.jobs[id]):
        return "/".join(parts[:8])
    return None


def _is_attempt(number: list[str], job: Job) -> bool:
    return bool(number) and number[0].isdecimal() and int(number[0]) <= job.attempt


def _parts(store: Storage, now: datetime) -> Iterator[Finding]:
    if isinstance(store, FolderStorage):
        for path in store.abandoned(now - PART_AGE):
            detail = f"half-written {PART_AGE.days} day ago or earlier by a process that was killed"
            yield Finding(Kind.PART_STALE, str(path), detail, "it is removed", safe=True)
