"""What a whole domain looks like to the base model: shares of codes and classes over every image.

Axes: B a batch, K codes, G source classes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from udair.adaptation.phase_state import PhaseState
from udair.adaptation.recipe import CROP
from udair.bundle import Bundle, load_bundle
from udair.data.images import ImageArray
from udair.data.patches import mirror_index, to_tensor
from udair.data.tasks import CLASSES
from udair.losses.alignment import cluster_distance
from udair_jobs.adapt_specs import source_of
from udair_jobs.base_models import local_folder
from udair_jobs.cancellation import Cancellation
from udair_jobs.datasets import centre_crop, load_image
from udair_jobs.downloads import in_order
from udair_jobs.errors import JobError, last_line
from udair_jobs.logs import quiet
from udair_jobs.manifests import ManifestRow
from udair_jobs.ray_cluster import interruptible, start_ray
from udair_jobs.specs import AdaptSpec, Skipped
from udair_jobs.threads import set_threads

BATCH = 32
CHUNK = 128  # images that a worker is given at a time


@dataclass
class Profile:
    """Sums over images; profiles of parts add up to that of the whole.

    Attributes:
        images: How many were seen.
        codes_K: Sum of the images' code histograms.
        classes_G: How many are nearest to each source class.
        skipped: Objects that could not be used any more.
    """

    images: int
    codes_K: np.ndarray
    classes_G: np.ndarray
    skipped: list[Skipped] = field(default_factory=list)

    @classmethod
    def empty(cls, codes: int) -> Profile:
        """Of no image."""
        return cls(0, np.zeros(codes), np.zeros(len(CLASSES), int))

    def add(self, other: Profile) -> None:
        """Take in another part."""
        self.images += other.images
        self.codes_K = self.codes_K + other.codes_K
        self.classes_G = self.classes_G + other.classes_G
        self.skipped += other.skipped

    def to_state(self) -> PhaseState:
        """For a checkpoint; `from_state` reads it back. What was skipped is not kept."""
        sums = {"codes_K": torch.from_numpy(self.codes_K), "classes_G": torch.from_numpy(self.classes_G)}
        return PhaseState(sums, {"images": self.images})

    @classmethod
    def from_state(cls, state: PhaseState) -> Profile:
        """Read what `to_state` wrote."""
        return cls(state.facts["images"], state.tensors["codes_K"].numpy(), state.tensors["classes_G"].numpy())

    def to_dict(self) -> dict[str, Any]:
        """`profile.json`: shares, which a later look at the domain can be compared with."""
        count = max(self.images, 1)
        return {
            "schema_version": 1,
            "images": self.images,
            "code_shares": [round(float(share), 6) for share in self.codes_K / count],
            "class_shares": {name: round(float(n) / count, 6) for name, n in zip(CLASSES, self.classes_G, strict=True)},
        }


@torch.no_grad()
def profile_of(bundle: Bundle, images: Iterable[ImageArray]) -> Profile:
    """Embed the middle of each image, a batch at a time."""
    profile, rest = Profile.empty(bundle.model.config.codes), iter(images)
    device, stats = bundle.model.enter.weight.device, bundle.stats
    while batch := list(islice(rest, BATCH)):
        seen = bundle.model.embed(to_tensor([_middle(image) for image in batch], device))
        nearest_B = cluster_distance(seen.embedding_BD.float(), stats.centre_GD, stats.precision_GDD).argmin(1)
        classes_G = torch.bincount(nearest_B, minlength=len(CLASSES)).cpu().numpy()
        profile.add(Profile(len(batch), seen.histogram_BK.double().sum(0).cpu().numpy(), classes_G))
    return profile


def _middle(image: ImageArray) -> ImageArray:
    """The middle `CROP` x `CROP` pixels; a smaller image is mirrored up to that size."""
    middle = centre_crop(image, CROP)
    rows, columns = (mirror_index(CROP, side).numpy() for side in middle.shape[:2])
    return middle if middle.shape[:2] == (CROP, CROP) else middle[rows][:, columns]


class EmbeddingWorker:
    """Reads and embeds chunks of a snapshot; the driver makes Ray actors of it.

    Args:
        document: An `AdaptSpec` as a dictionary. It holds no credentials.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        quiet()
        set_threads()
        self._spec = spec = AdaptSpec.model_validate(document)
        with tempfile.TemporaryDirectory(prefix="udair-") as scratch:
            folder = local_folder(spec.base_uri, Path(scratch), endpoint_url=spec.store_endpoint_url)
            self._bundle = load_bundle(folder, expected_digest=spec.base_digest)
        self._source = source_of(spec)

    def embed(self, rows: Sequence[ManifestRow]) -> Profile:
        """The profile of these images; those that changed since the snapshot are listed in it."""
        skipped: list[Skipped] = []

        def usable() -> Iterable[ImageArray]:
            for image in in_order(lambda row: load_image(self._source, row, self._spec.limits), rows):
                if isinstance(image, Skipped):
                    skipped.append(image)
                else:
                    yield image

        profile = profile_of(self._bundle, usable())
        profile.skipped = skipped
        return profile


def embed_on_ray(
    spec: AdaptSpec,
    rows: Sequence[ManifestRow],
    codes: int,
    cancellation: Cancellation,
    on_progress: Callable[[float], None],
) -> Profile:
    """The profile of every image of `rows`, by `spec.embed_workers` Ray actors; a lost one's chunk is done again.

    Raises:
        JobError: CONTROLLER_ERROR when workers fail again and again, or Ray does not start.
    """
    import ray
    from ray.util import ActorPool

    start_ray(spec.embed_workers, cancellation)
    actor = ray.remote(num_cpus=1, max_restarts=3, max_task_retries=3)(EmbeddingWorker)
    workers: list[Any] = [actor.remote(spec.model_dump(mode="json")) for _ in range(spec.embed_workers)]
    chunks = [list(rows[start : start + CHUNK]) for start in range(0, len(rows), CHUNK)]

    def work() -> Profile:
        whole = Profile.empty(codes)
        parts = ActorPool(workers).map(lambda worker, chunk: worker.embed.remote(chunk), chunks)
        for number, part in enumerate(parts, 1):
            whole.add(part)
            on_progress(number / len(chunks))
        return whole

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
