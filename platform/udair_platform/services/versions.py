"""From a job's result to an adapter version: verified, judged, recorded. Exactly once per job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from udair.adaptation.gate import Evidence
from udair_jobs.errors import CandidateError
from udair_jobs.published.candidates import verify_candidate
from udair_jobs.specs import Manifest
from udair_jobs.storage import NotFound as ObjectNotFound
from udair_jobs.storage import Storage, StorageError, StorageUnavailable, open_storage
from udair_platform.documents import store_paths
from udair_platform.entities import version as entity
from udair_platform.entities.alias import CANDIDATE
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.job import Job
from udair_platform.entities.version import AdapterVersion, VersionState
from udair_platform.errors import CandidateInvalid, NotFound, StoreDown
from udair_platform.services import gate
from udair_platform.services.change import Change
from udair_platform.state.repositories import State

_MAX_JSON_BYTES = 4 * 2**20
_MAX_WORDS, _MAX_WORD_CHARS = 40, 1000


@dataclass(frozen=True)
class Candidate:
    """A published adapter whose every file matched its manifest, and what it was matched to, in words."""

    uri: str
    manifest: Manifest
    evidence: Evidence
    metrics: Mapping[str, float]
    words: tuple[str, ...] = ()


def verify(storage: Storage, *, base_digest: str) -> Candidate:
    """Read the candidate in `storage` and believe nothing that its manifest does not prove.

    Raises:
        CandidateInvalid: A file is missing, altered or unlisted, or it is for another base model.
        StoreDown: The store does not answer.
    """
    try:
        manifest = verify_candidate(storage)
        if manifest.base_digest != base_digest:
            raise CandidateInvalid(
                f"{storage.uri} was made for base model {manifest.base_digest[:12]}; "
                f"expected {base_digest[:12]}. Run the job again on the current base model."
            )
        evidence = gate.read_evidence(_read(storage, manifest, store_paths.EVIDENCE))
        metrics = _read(storage, manifest, store_paths.METRICS) if store_paths.METRICS in manifest.files else {}
        match = _read(storage, manifest, store_paths.MATCH) if store_paths.MATCH in manifest.files else {}
    except StorageUnavailable as error:
        raise StoreDown(f"The candidate cannot be read now: {error}") from error
    except (CandidateError, StorageError) as error:
        raise CandidateInvalid(f"The candidate cannot be trusted: {error}") from error
    return Candidate(storage.uri, manifest, evidence, metrics if isinstance(metrics, dict) else {}, _words(match))


def record(tx: Change, domain: Domain, job: Job, candidate: Candidate) -> AdapterVersion:
    """Register `candidate` as the next version of `domain`, judged by its rules of this moment.

    A job that has a version already gets the same one back.
    """
    state = tx.state
    known = state.versions.of_job(job.tenant, job.id)
    if known is not None:
        return known
    created = AdapterVersion(
        domain_id=domain.id,
        tenant=domain.tenant,
        number=state.versions.next_number(domain.tenant, domain.id),
        job_id=job.id,
        snapshot_id=job.snapshot_id,
        base_name=job.base_name,
        base_digest=candidate.manifest.base_digest,
        adapter_digest=candidate.manifest.digest,
        candidate_uri=candidate.uri,
        created_time=tx.now,
        updated_time=tx.now,
        evidence=gate.finite(candidate.evidence.to_dict()),
        metrics=gate.finite(dict(candidate.metrics)),
        code_version=candidate.manifest.code_version,
        words=candidate.words,
        tone=candidate.manifest.tone,
        tone_aim=job.tone_aim,
        reference_uri=job.reference_uri,
    )
    report = gate.evaluate(candidate.evidence, domain.gate)
    evaluating = entity.advance(created, VersionState.EVALUATING, now=tx.now)
    judged = replace(
        entity.advance(evaluating, gate.STATE_AFTER[report.verdict], now=tx.now),
        verdict=report.verdict,
        gate=gate.report_of(report, domain.gate),
    )
    state.versions.add(judged)
    for step in (created, evaluating, judged):
        _record(tx.because(f"job {job.id}"), step)
    if judged.state not in (VersionState.REJECTED, VersionState.ARCHIVED):
        pointed = state.aliases.find(domain.tenant, domain.id, CANDIDATE)
        expected = pointed.version if pointed else None
        reason = f"gate {report.verdict}"
        state.aliases.move(
            domain, CANDIDATE, judged.number, expected=expected, actor=tx.actor, reason=reason, now=tx.now
        )
    tx.routes_changed(domain)  # the newest profile is another one now
    return judged


def folder_of(store: Storage, version: AdapterVersion) -> Storage:
    """Where the version's files are: through `store` where it is inside, which knows its endpoint."""
    inside = version.candidate_uri.removeprefix(f"{store.uri}/")
    return store.at(inside) if inside != version.candidate_uri else open_storage(version.candidate_uri)


def change(tx: Change, version: AdapterVersion, to: VersionState) -> AdapterVersion:
    """Move a stored version to state `to`, with its event. Raises InvalidState."""
    moved = tx.state.versions.save(entity.advance(version, to, now=tx.now))
    _record(tx, moved)
    return moved


def resolve(state: State, domain: Domain, version: str) -> int:
    """The number that `version` names: ``7``, ``@champion`` or ``champion``; 0 is the source model.

    Raises:
        NotFound: It names nothing.
    """
    name = version.removeprefix("@")
    if name.isascii() and name.isdigit() and len(name) < 10:
        number = int(name)
        if number != SOURCE_VERSION:
            state.versions.get(domain.tenant, domain.id, number)
        return number
    alias = state.aliases.find(domain.tenant, domain.id, name)
    if alias is None:
        raise NotFound(f"Domain {domain.name!r} has no version or alias {version!r}.")
    return alias.version


def _read(storage: Storage, manifest: Manifest, name: str) -> Any:
    if name not in manifest.files:
        raise CandidateInvalid(f"{storage.uri} has no {name} in its manifest, so the gate has nothing to judge.")
    try:
        return json.loads(storage.get(name, max_bytes=_MAX_JSON_BYTES))
    except ObjectNotFound as error:
        raise CandidateInvalid(f"{storage.uri}/{name} is gone.") from error
    except ValueError as error:
        raise CandidateInvalid(f"{storage.uri}/{name} is no JSON: {error}.") from error


def _words(match: Any) -> tuple[str, ...]:
    """The sentences of a `match.json`, as many and as long as a page can show; releases before had none."""
    words = match.get("words") if isinstance(match, dict) else None
    return tuple(str(item)[:_MAX_WORD_CHARS] for item in words[:_MAX_WORDS]) if isinstance(words, list) else ()


def _record(tx: Change, version: AdapterVersion) -> None:
    data = {"verdict": version.verdict, "adapter_digest": version.adapter_digest}
    tx.record(version, f"version.{version.state}", data)
