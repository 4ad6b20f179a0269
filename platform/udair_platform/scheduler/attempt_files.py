"""The files of one attempt, as the control plane reads and writes them in the platform's store."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from udair_jobs.specs import AdaptResult, AdaptSpec, Progress, Reason, SnapshotSummary, recipe_of
from udair_jobs.storage import NotFound, PreconditionFailed, Storage, StorageError, TooLarge
from udair_platform.documents import store_paths
from udair_platform.documents.job_log import JobLog
from udair_platform.entities.domain import Domain
from udair_platform.entities.job import Attempt, Job
from udair_platform.entities.snapshot import Snapshot
from udair_platform.errors import StoreDown
from udair_platform.services import sources
from udair_platform.settings import Settings
from udair_platform.telemetry import redact_text

_MAX_RESULT_BYTES = 16 * 2**20
M = TypeVar("M", bound=BaseModel)


class DamagedFile(Exception):
    """A file of the attempt is there and is not what it should be."""


class AttemptFiles:
    """The folder of one attempt. Every method may raise StoreDown.

    Args:
        store: The platform's store.
    """

    def __init__(self, store: Storage, domain: Domain, job: Job, number: int) -> None:
        self._storage = store.at(store_paths.attempt(job.tenant, domain.name, job.id, number))

    @property
    def uri(self) -> str:
        """The folder."""
        return self._storage.uri

    @property
    def candidate(self) -> Storage:
        """Where the attempt publishes."""
        return self._storage.at(store_paths.CANDIDATE)

    def write_spec(self, spec: AdaptSpec) -> str:
        """Write what the attempt shall do; the URI that the job reads it from."""
        self._put(store_paths.SPEC, spec.model_dump_json(indent=1).encode())
        return f"{self._storage.uri}/{store_paths.SPEC}"

    def result(self) -> AdaptResult | None:
        """What the attempt ended with, or None while it has not.

        Raises:
            DamagedFile: The result cannot be read.
        """
        return self._model(store_paths.RESULT, AdaptResult)

    def progress(self) -> Progress | None:
        """The attempt's last heartbeat; one that cannot be read counts as none."""
        try:
            return self._model(store_paths.PROGRESS, Progress)
        except DamagedFile:
            return None

    def close(self, reason: Reason, detail: str) -> bool:
        """Write a FAILED result unless there is a result: the attempt cannot succeed after that.

        Whoever writes the result first decides; a job that starts late finds it and ends at once.
        Returns False if the attempt had decided otherwise already.
        """
        closed = AdaptResult(state="FAILED", reason=reason, detail=detail)
        try:
            self._storage.put(store_paths.RESULT, closed.model_dump_json(indent=1).encode(), if_absent=True)
        except PreconditionFailed:
            try:
                earlier = self.result()
            except DamagedFile:
                return True
            # The same reason: our own, from a tick that was killed or an answer that was lost.
            return earlier is not None and earlier.state == "FAILED" and earlier.reason == reason
        except StorageError as error:
            raise StoreDown(f"The attempt cannot be closed now: {error}") from error
        return True

    def keep_log(self, printed: str) -> None:
        """Keep the end of what the attempt printed: it outlives the cluster that ran it. Secrets are blanked."""
        if not printed:
            return
        try:
            before = JobLog.parse(self._storage.get(store_paths.LOG))
        except NotFound:
            before = JobLog()
        except StorageError as error:
            raise StoreDown(f"{store_paths.LOG} cannot be read now: {error}") from error
        now = before.followed_by(printed.encode(), blanked=redact_text)
        if now != before:
            self._put(store_paths.LOG, now.stored())

    def _put(self, key: str, data: bytes) -> None:
        try:
            self._storage.put(key, data)
        except StorageError as error:
            raise StoreDown(f"{key} cannot be written now: {error}") from error

    def _model(self, key: str, kind: type[M]) -> M | None:
        return read_model(self._storage, key, kind)


def read_model(storage: Storage, key: str, kind: type[M]) -> M | None:
    """The document `key`, or None if there is none.

    Raises:
        DamagedFile: It is there and is no `kind`.
        StoreDown: The store does not answer.
    """
    try:
        return kind.model_validate_json(storage.get(key, max_bytes=_MAX_RESULT_BYTES))
    except NotFound:
        return None
    except (ValidationError, TooLarge) as error:
        raise DamagedFile(f"{storage.uri}/{key} cannot be read: {str(error)[:300]}") from error
    except StorageError as error:
        raise StoreDown(f"{key} cannot be read now: {error}") from error


def read_summary(store: Storage, domain: Domain, job: Job) -> SnapshotSummary | None:
    """What the job found in the bucket, if it got that far; a damaged summary counts as none."""
    folder = store.at(store_paths.snapshot(job.tenant, domain.name, job.snapshot_id))
    try:
        return read_model(folder, store_paths.SUMMARY, SnapshotSummary)
    except DamagedFile:
        return None


def spec_of(
    job: Job,
    attempt: Attempt,
    domain: Domain,
    snapshot: Snapshot,
    settings: Settings,
    *,
    checkpoint_uri: str,
    champion_uri: str | None,
) -> AdaptSpec:
    """What `attempt` shall do. No credentials: the process that runs it has them."""
    return AdaptSpec(
        tenant=job.tenant,
        domain=domain.name,
        job_id=job.id,
        attempt=attempt.number,
        source_uri=domain.source_uri,
        source_endpoint_url=sources.endpoint_of(domain.source_uri, settings),
        source_role_arn=domain.source_role_arn,
        source_external_id=domain.external_id if domain.source_role_arn else None,
        base_uri=job.base_uri,
        base_digest=job.base_digest,
        snapshot_id=job.snapshot_id,
        snapshot_uri=snapshot.uri,
        output_uri=attempt.output_uri,
        checkpoint_uri=checkpoint_uri,
        champion_uri=champion_uri,
        store_endpoint_url=settings.store_endpoint_url,
        gallery_images=settings.gallery_images,
        tone=job.tone,
        tone_aim=job.tone_aim,
        reference_uri=job.reference_uri,
        reference_endpoint_url=settings.s3_endpoint_url if job.reference_uri else None,
        recipe=recipe_of(job.recipe),
    )
