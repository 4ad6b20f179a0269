"""What a whole domain looks like to the base model, in this process or by Ray workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from udair.adaptation.profile import Profile, embed
from udair.bundle import Bundle, load_bundle
from udair.data.images import ImageArray
from udair_jobs.adapt_domain.specs import source_of
from udair_jobs.errors import JobError, last_line
from udair_jobs.images.datasets import load_image
from udair_jobs.images.downloads import in_order
from udair_jobs.images.manifests import ManifestRow
from udair_jobs.published.base_models import local_folder
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.logs import quiet
from udair_jobs.runtime.ray_cluster import interruptible, start_ray
from udair_jobs.runtime.threads import set_threads
from udair_jobs.specs import AdaptSpec, Skipped

BATCH = 32
CHUNK = 128  # images that a worker is given at a time


def profile_of(bundle: Bundle, images: Iterable[ImageArray]) -> Profile:
    """Embed the middle of each image, a batch at a time."""
    profile, rest = Profile.empty(bundle.model.config.codes), iter(images)
    while batch := list(islice(rest, BATCH)):
        profile.add(embed(bundle.model, bundle.stats, batch))
    return profile


class EmbeddingWorker:
    """Reads and embeds chunks of a snapshot; the driver makes Ray actors of it.

    Args:
        document: An `AdaptSpec` as a dictionary. It holds no credentials.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        quiet()
        set_threads()
        self._spec = spec = AdaptSpec.model_validate(document)
        with local_folder(spec.base_uri, endpoint_url=spec.store_endpoint_url) as folder:
            self._bundle = load_bundle(folder, expected_digest=spec.base_digest)
        self._source = source_of(spec)

    def embed(self, rows: Sequence[ManifestRow]) -> tuple[Profile, list[Skipped]]:
        """The profile of these images, and those that could not be used any more."""
        skipped: list[Skipped] = []

        def usable() -> Iterable[ImageArray]:
            for image in in_order(lambda row: load_image(self._source, row, self._spec.limits), rows):
                if isinstance(image, Skipped):
                    skipped.append(image)
                else:
                    yield image

        return profile_of(self._bundle, usable()), skipped


def embed_on_ray(
    spec: AdaptSpec,
    rows: Sequence[ManifestRow],
    codes: int,
    cancellation: Cancellation,
    on_progress: Callable[[float], None],
) -> tuple[Profile, list[Skipped]]:
    """The profile of every image of `rows`, and those that could not be used any more.

    By `spec.embed_workers` Ray actors; a lost one's chunk is done again.

    Raises:
        JobError: CONTROLLER_ERROR when workers fail again and again, or Ray does not start.
    """
    import ray
    from ray.util import ActorPool

    start_ray(spec.embed_workers, cancellation)
    actor = ray.remote(num_cpus=1, max_restarts=3, max_task_retries=3)(EmbeddingWorker)
    workers: list[Any] = [actor.remote(spec.model_dump(mode="json")) for _ in range(spec.embed_workers)]
    chunks = [list(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]

    def work() -> tuple[Profile, list[Skipped]]:
        whole = Profile.empty(codes)
        skipped: list[Skipped] = []
        parts = ActorPool(workers).map(lambda worker, chunk: worker.embed.remote(chunk), chunks)
        for number, (part, lost) in enumerate(parts, 1):
            whole.merge(part)
            skipped.extend(lost)
            on_progress(number / len(chunks))
        return whole, skipped

    try:
        return interruptible(work)
    except JobError:
        raise
    except Exception as error:  # Ray wraps workers' errors in types of its own
        raise JobError("CONTROLLER_ERROR", f"embedding the domain failed: {last_line(error)}") from error
    finally:
        if ray.is_initialized():  # a job that was asked to stop has left the cluster, and its actors with it
            for worker in workers:
                ray.kill(worker)
