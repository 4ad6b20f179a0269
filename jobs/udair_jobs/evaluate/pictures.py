"""Pictures of a snapshot, beside their clean versions where those lie elsewhere under the same names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from udair.data.images import ImageArray
from udair.errors import ImageError
from udair_jobs.errors import JobError, NotFound, TooLarge
from udair_jobs.images.datasets import centre_crop, load_image
from udair_jobs.images.decoding import decode, limits_of
from udair_jobs.images.downloads import in_order
from udair_jobs.images.manifests import ManifestRow
from udair_jobs.specs import LimitsSpec, Skipped
from udair_jobs.storage import Storage


@dataclass(frozen=True)
class Picture:
    """One degraded picture: (H, W, 3) uint8 RGB, and the truth, of the same size, if it is known."""

    key: str
    degraded: ImageArray
    clean: ImageArray | None


def read_pictures(
    source: Storage, rows: Sequence[ManifestRow], clean: Storage | None, *, limits: LimitsSpec
) -> Iterator[Picture | Skipped]:
    """Read the pictures of `rows` in their order, a few ahead.

    Where `clean` is given, one without a fitting clean version is a Skipped. A clean version has the picture's key,
    whatever its suffix.

    Raises:
        StorageError: A store refuses or does not answer.
    """
    at: dict[str, list[str]] = {}
    for info in clean.list() if clean is not None else ():
        at.setdefault(_stem(info.key), []).append(info.key)

    def load(row: ManifestRow) -> Picture | Skipped:
        image = load_image(source, row, limits)
        if isinstance(image, Skipped):
            return image
        if clean is None:
            return Picture(row.key, image, None)
        truth = _clean_version(clean, row.key, at, limits)
        if isinstance(truth, Skipped):
            return truth
        if truth.shape != image.shape:
            sizes = " and its clean version ".join(f"{w} x {h}" for h, w, _ in (image.shape, truth.shape))
            return Skipped(key=row.key, reason="OTHER_SIZE", detail=f"it has {sizes} pixels")
        return Picture(row.key, image, truth)

    return in_order(load, rows)


def no_pictures(source: Storage, clean: Storage | None, skipped: Sequence[Skipped]) -> JobError:
    """What to raise when nothing can be scored."""
    first = f" (first: {skipped[0].key}: {skipped[0].detail})" if skipped else ""
    if clean is None:
        return JobError(
            "DATA_EMPTY",
            f"{source.uri} has no picture that can be used; {len(skipped)} were skipped{first}.",
            skipped=skipped,
        )
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
            return centre_crop(decode(data, limits_of(limits)).image, limits.max_side)
        except (ImageError, NotFound, TooLarge) as error:
            detail = f"{name}: {error}"
    return Skipped(key=key, reason="NO_LABEL", detail=detail)
