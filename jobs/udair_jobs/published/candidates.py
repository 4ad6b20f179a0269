"""A candidate adapter on storage: files first, `MANIFEST.json` last. Its presence is the commit.

Torch-free: the registry verifies candidates with the same code that publishes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import ValidationError

from udair.config import Tone
from udair_jobs.errors import CandidateError, NotFound, TooLarge
from udair_jobs.specs import FileRecord, Manifest
from udair_jobs.storage import Storage

MANIFEST = "MANIFEST.json"
ADAPTER = "adapter.safetensors"
EVIDENCE = "evidence.json"
BASE = "base.json"  # how the base model compares with doing nothing
# An adapter is below 1 MB; whatever is far larger is none, and is not worth reading to the end.
MAX_FILE_BYTES = 64 * 2**20


def publish_candidate(
    target: Storage, files: Mapping[str, bytes], *, base_digest: str, code_version: str, tone: Tone = "keep"
) -> Manifest:
    """Write `files`, then their manifest. A killed publication leaves no manifest, so no candidate.

    A candidate that is committed there already is verified and returned: it is never rewritten.

    Args:
        target: Folder of the candidate.
        files: Name -> content; must hold `adapter.safetensors`.
        base_digest: Digest of the base model that the adapter was made for.
        code_version: Version of this library.
        tone: The intent that the adapter was made for.

    Raises:
        CandidateError: There is no adapter among the files, or what was written reads back differently.
        StorageError: The store refuses or does not answer.
    """
    if ADAPTER not in files:
        raise CandidateError(f"{target.uri}: a candidate needs {ADAPTER}; there are {', '.join(files) or 'no files'}.")
    if target.exists(MANIFEST):
        return verify_candidate(target, base_digest=base_digest)
    for name, data in files.items():
        target.put(name, data)
    manifest = Manifest(
        digest=_sha256(files[ADAPTER]),
        base_digest=base_digest,
        files={name: FileRecord(sha256=_sha256(data), bytes=len(data)) for name, data in sorted(files.items())},
        code_version=code_version,
        tone=tone,
    )
    target.put(MANIFEST, manifest.model_dump_json(indent=2).encode(), if_absent=True)
    return verify_candidate(target, base_digest=base_digest)


def verify_candidate(storage: Storage, *, base_digest: str | None = None) -> Manifest:
    """Read the candidate's manifest and hash every file that it names again.

    Args:
        storage: Folder of the candidate.
        base_digest: Base model that it must have been made for.

    Raises:
        CandidateError: No manifest, a file that is missing or altered, or another base model.
        StorageError: The store refuses or does not answer.
    """
    manifest = read_manifest(storage)
    if base_digest is not None and manifest.base_digest != base_digest:
        raise CandidateError(
            f"{storage.uri} was made for base model {manifest.base_digest[:12]}; "
            f"expected {base_digest[:12]}. Adapt again on the base model that is served."
        )
    for name, record in manifest.files.items():
        try:
            data = storage.get(name, max_bytes=min(record.bytes, MAX_FILE_BYTES))
        except (NotFound, TooLarge) as error:
            raise CandidateError(f"{error} Its manifest promises {record.bytes} bytes. Adapt again.") from error
        if len(data) != record.bytes or _sha256(data) != record.sha256:
            raise CandidateError(
                f"{storage.uri}/{name} has sha256 {_sha256(data)[:12]}; its manifest says "
                f"{record.sha256[:12]}. It was altered after publication: adapt again."
            )
    adapter = manifest.files.get(ADAPTER)
    if adapter is None or adapter.sha256 != manifest.digest:
        raise CandidateError(f"{storage.uri}/{MANIFEST} does not name its adapter's digest. Adapt again.")
    return manifest


def read_manifest(storage: Storage) -> Manifest:
    """The candidate's manifest, without looking at the files.

    Raises:
        CandidateError: There is none, so the publication did not finish; or it is no manifest.
    """
    try:
        return Manifest.model_validate_json(storage.get(MANIFEST, max_bytes=2**20))
    except NotFound:
        raise CandidateError(
            f"{storage.uri} has no {MANIFEST}, so its publication did not finish; nothing may use it. Retry the job."
        ) from None
    except (ValidationError, TooLarge) as error:
        raise CandidateError(f"{storage.uri}/{MANIFEST} is no manifest: {error}") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
