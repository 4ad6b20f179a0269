"""The references of a domain: good pictures of the same place or kind, pinned as its own images are, and looked at.

They are of use where there are enough of them and none is one of the domain's own. Whether they are cleaner than
those is compared and said; a person may know better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from udair.data.images import ImageArray
from udair_jobs.adapt_domain.specs import references_of
from udair_jobs.errors import JobCancelled, JobError
from udair_jobs.images.datasets import centre_crop, load_images
from udair_jobs.images.manifests import ManifestRows
from udair_jobs.images.snapshots import Snapshot, take_snapshot
from udair_jobs.specs import AdaptSpec, Skipped, SnapshotSummary
from udair_jobs.storage import Storage

FEWEST = 8
MAX_IMAGES = 200
MAX_HELD_BYTES = 384 * 2**20
NOISIER = 1.1  # times the level of the domain's own noise: two estimates of one level differ by less
_COMPARED = 32  # images of each side
_COMPARED_SIDE = 256  # of the middle of each, pixels: its patches are held many times over


@dataclass(frozen=True)
class References:
    """What there is to compare with.

    Attributes:
        images: (H, W, 3) uint8; none where they may not be used.
        words: What was found, for people.
        summary: Of their manifest.
        skipped: Objects that were not used, by full URI.
    """

    images: list[ImageArray] = field(default_factory=list)
    words: tuple[str, ...] = ()
    summary: SnapshotSummary | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def digest(self) -> str | None:
        """Of the pinned pictures, if they are used."""
        return self.summary.digest if self.summary is not None and self.images else None


def manifest_folder(snapshot: Storage, reference_uri: str) -> Storage:
    """Where references are pinned: beside the images of a snapshot, one folder for each place that was named."""
    return snapshot.at(f"references/{hashlib.sha256(reference_uri.encode()).hexdigest()[:16]}")


def fetch_references(
    spec: AdaptSpec,
    target: Storage,
    source: Snapshot,
    images: Sequence[ImageArray],
    *,
    on_progress: Callable[[float], None],
    patience_s: float,
) -> References:
    """Pin, load and judge the references of `spec`; there are none where it names none.

    Args:
        target: Folder of the domain's snapshot.
        source: The domain's own images, as listed.
        images: Those of them that were loaded.

    Raises:
        JobError: ACCESS_DENIED, DATA_EMPTY or DATA_UNREADABLE, as for the domain's own images.
    """
    uri = spec.reference_uri
    if uri is None:
        return References()
    place = references_of(spec, patience_s)
    try:
        pinned = take_snapshot(
            place,
            manifest_folder(target, uri),
            snapshot_id=spec.snapshot_id,
            limits=spec.limits,
            on_progress=lambda share, counters: on_progress(0.7 * share),
        )
    except JobCancelled:
        raise
    except JobError as error:
        raise JobError(error.reason, f"The references cannot be used: {error}", _named(place, error.skipped)) from error
    own = set(source.rows.usable().values("sha256"))
    usable = pinned.rows.usable()
    apart = ManifestRows.of(row for row in usable if row.sha256 not in own)
    loaded = load_images(
        place,
        apart,
        limits=spec.limits,
        max_images=MAX_IMAGES,
        max_held_bytes=MAX_HELD_BYTES,
        on_progress=lambda share: on_progress(0.7 + 0.3 * share),
    )
    pixels = {_pixels(image) for image in images}
    kept = [image for image in loaded.images if _pixels(image) not in pixels]
    lost = [*pinned.skipped(), *loaded.skipped]
    shared = len(usable) - len(apart) + len(loaded.images) - len(kept)
    words = _words(uri, kept, len(usable), shared, images)
    return References(kept if len(kept) >= FEWEST else [], tuple(words), pinned.summary, _named(place, lost))


def _words(
    uri: str, kept: Sequence[ImageArray], usable: int, shared: int, images: Sequence[ImageArray]
) -> Iterable[str]:
    same = f"{shared} of {usable} pictures in {uri} are the domain's own, too"
    if len(kept) < FEWEST:
        why = same if shared else f"{len(kept)} usable pictures in {uri}"
        yield f"References: not used: {why}; expected {FEWEST} or more that are not among the domain's images."
        return
    yield f"References: {len(kept)} pictures of {uri}{f'; {same} and are left out' if shared else ''}."
    ours, theirs = _noise(images), _noise(kept)
    if ours is None or theirs is None:
        yield "References: whether they are cleaner cannot be said: too few flat places."
    elif theirs > NOISIER * ours:
        yield (
            f"References: noisier than the domain's images (sigma {255 * theirs:.1f} against {255 * ours:.1f} of 255 "
            "levels); expected good pictures. They are used: look whether the prefix is the right one."
        )


def _named(place: Storage, skipped: Iterable[Skipped]) -> tuple[Skipped, ...]:
    """`skipped` by their full URIs: among a job's, a key alone is one of the domain's own."""
    return tuple(one.model_copy(update={"key": f"{place.uri}/{one.key}"}) for one in skipped)


def _noise(images: Sequence[ImageArray]) -> float | None:
    """Level of the noise in the middle of some images, in [0, 1]; None where they have too few flat places."""
    from udair.estimation.noise import noise_bank

    step = max(1, -(-len(images) // _COMPARED))
    bank = noise_bank([centre_crop(image, _COMPARED_SIDE) for image in images[::step]])
    return None if bank is None else bank.level


def _pixels(image: ImageArray) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
