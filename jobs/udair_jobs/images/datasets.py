"""A snapshot's images as arrays: the pinned versions only, cropped, and no more than fit in memory."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass

from udair.data.images import ImageArray
from udair.errors import ImageError
from udair_jobs.errors import (
    CredentialsExpired,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.images.decoding import decode, limits_of
from udair_jobs.images.downloads import WORKERS, in_order
from udair_jobs.images.manifests import ManifestRow, ManifestRows
from udair_jobs.specs import LimitsSpec, Skipped
from udair_jobs.storage import Storage

MAX_IMAGES = 400
MAX_HELD_BYTES = 768 * 2**20


@dataclass(frozen=True)
class LoadedImages:
    """Decoded images in key order, and the objects that could not be used any more.

    Attributes:
        images: (H, W, 3) uint8 RGB, sides at most `limits.max_side`.
        keys: Where each came from.
        skipped: Objects that changed since the snapshot.
        jpeg_tables: The luminance table of each image's file, or None.
    """

    images: list[ImageArray]
    keys: list[str]
    skipped: list[Skipped]
    jpeg_tables: list[bytes | None]


def load_images(
    source: Storage,
    rows: ManifestRows,
    *,
    limits: LimitsSpec | None = None,
    max_images: int = MAX_IMAGES,
    max_held_bytes: int = MAX_HELD_BYTES,
    on_progress: Callable[[float], None] | None = None,
    workers: int = WORKERS,
) -> LoadedImages:
    """Read, verify and decode the images of `rows`.

    More images than may be held are sampled by content hash: the same ones every time. An object
    that changed or vanished since the snapshot is skipped and listed as CHANGED, never used.

    Raises:
        StorageError: The store refuses or does not answer.
    """
    limits = limits or LimitsSpec()
    chosen = sample(rows, limits.max_side, max_images=max_images, max_held_bytes=max_held_bytes)
    loaded = LoadedImages([], [], [], [])

    def load(row: ManifestRow) -> ImageArray | Skipped:
        return load_image(source, row, limits)

    for number, (row, image) in enumerate(zip(chosen, in_order(load, chosen, workers=workers), strict=True), 1):
        if isinstance(image, Skipped):
            loaded.skipped.append(image)
        else:
            loaded.images.append(image)
            loaded.keys.append(row.key)
            loaded.jpeg_tables.append(row.jpeg_table)
        if on_progress is not None:
            on_progress(number / len(chosen))
    return loaded


def sample(rows: ManifestRows, max_side: int, *, max_images: int, max_held_bytes: int) -> list[ManifestRow]:
    """As many rows as may be held in memory, chosen by content hash, in key order; at least one."""
    ranks = (hashlib.sha256(f"sample:{sha256}".encode()).digest() for sha256 in rows.values("sha256"))
    nearest = heapq.nsmallest(max_images, zip(ranks, range(len(rows)), strict=True))
    chosen: list[ManifestRow] = []
    held = 0
    for row in (rows[number] for _, number in nearest):
        held += 3 * min(row.width, max_side) * min(row.height, max_side)
        if chosen and held > max_held_bytes:
            break
        chosen.append(row)
    return sorted(chosen, key=lambda row: row.key)


def centre_crop(image: ImageArray, max_side: int) -> ImageArray:
    """The middle of `image`, (H, W, 3), with both sides at most `max_side`; a copy if it was cut."""
    height, width = image.shape[:2]
    if height <= max_side and width <= max_side:
        return image
    top, left = max(0, (height - max_side) // 2), max(0, (width - max_side) // 2)
    # A copy, so that the large original does not stay alive behind a view.
    return image[top : top + max_side, left : left + max_side].copy()


def load_image(source: Storage, row: ManifestRow, limits: LimitsSpec) -> ImageArray | Skipped:
    """One image of a snapshot, or why it cannot be used any more."""
    try:
        data = source.get(row.key, if_match=row.etag, max_bytes=limits.max_image_bytes)
    except (PreconditionFailed, NotFound, TooLarge):
        return _changed(row, "changed or vanished since the snapshot")
    except (StorageUnavailable, CredentialsExpired):
        raise
    except StorageError as error:
        return Skipped(key=row.key, reason="UNREADABLE", detail=str(error))
    # Some stores ignore If-Match; the content hash does not depend on their manners.
    if hashlib.sha256(data).hexdigest() != row.sha256:
        return _changed(row, "has other content than in the snapshot")
    try:
        return centre_crop(decode(data, limits_of(limits)).image, limits.max_side)
    except ImageError as error:  # the same bytes decoded before: the limits were tightened since
        return Skipped(key=row.key, reason=error.reason, detail=str(error))


def _changed(row: ManifestRow, detail: str) -> Skipped:
    return Skipped(key=row.key, reason="CHANGED", detail=detail)
