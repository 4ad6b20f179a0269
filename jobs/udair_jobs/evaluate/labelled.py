"""Images of a snapshot beside their clean versions, which lie elsewhere under the same names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from udair.data.images import DecodeLimits, ImageArray, decode
from udair.errors import ImageError
from udair_jobs.errors import JobError, NotFound, TooLarge
from udair_jobs.images.datasets import centre_crop, load_image
from udair_jobs.images.downloads import DECODING, in_order
from udair_jobs.images.manifests import ManifestRow
from udair_jobs.specs import LimitsSpec, Skipped
from udair_jobs.storage import Storage


@dataclass(frozen=True)
class LabelledPair:
    """One degraded image with the truth: (H, W, 3) uint8 RGB of the same size."""

    key: str
    degraded: ImageArray
    clean: ImageArray


def labelled_pairs(
    source: Storage, rows: Sequence[ManifestRow], clean: Storage, *, limits: LimitsSpec
) -> Iterator[LabelledPair | Skipped]:
    """Read the pairs of `rows` in their order, a few ahead; one without a fitting clean version is a Skipped.

    A clean version has the image's key, whatever its suffix.

    Raises:
        StorageError: A store refuses or does not answer.
    """
    at: dict[str, list[str]] = {}
    for info in clean.list():
        at.setdefault(_stem(info.key), []).append(info.key)

    def load(row: ManifestRow) -> LabelledPair | Skipped:
        image = load_image(source, row, limits)
        if isinstance(image, Skipped):
            return image
        truth = _clean_version(clean, row.key, at, limits)
        if isinstance(truth, Skipped):
            return truth
        if truth.shape != image.shape:
            sizes = " and its clean version ".join(f"{w} x {h}" for h, w, _ in (image.shape, truth.shape))
            return Skipped(key=row.key, reason="OTHER_SIZE", detail=f"it has {sizes} pixels")
        return LabelledPair(row.key, image, truth)

    return in_order(load, rows)


def no_labels(source: Storage, clean: Storage, skipped: Sequence[Skipped]) -> JobError:
    """What to raise when no image has a clean version."""
    first = f" (first: {skipped[0].key}: {skipped[0].detail})" if skipped else ""
    return JobError(
        "DATA_EMPTY",
        f"none of {len(skipped)} images below {source.uri} has a clean version of its size below {clean.uri}{first}. "
        "Clean versions have the same names; suffixes may differ.",
        skipped=skipped,
    )


def _stem(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(""))


def _clean_version(
    clean: Storage, key: str, at: Mapping[str, Sequence[str]], limits: LimitsSpec
) -> ImageArray | Skipped:
    detail = f"no clean version below {clean.uri}"
    # The very same name first; a sidecar such as a.json beside a.png is no image and is passed over.
    for name in sorted(at.get(_stem(key), ()), key=lambda name: name != key):
        try:
            data = clean.get(name, max_bytes=limits.max_image_bytes)
            with DECODING:
                image = decode(data, DecodeLimits(limits.max_image_bytes, limits.max_image_pixels))
            return centre_crop(image, limits.max_side)
        except (ImageError, NotFound, TooLarge) as error:
            detail = f"{name}: {error}"
    return Skipped(key=key, reason="NO_LABEL", detail=detail)
