"""What a batch has to restore: which objects, under which names, and what an earlier run has done already."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from udair_jobs.errors import AccessDenied, JobError, NotFound
from udair_jobs.restore_batch.report import BatchReport
from udair_jobs.restore_batch.rows import BatchRow
from udair_jobs.restore_batch.specs import BatchSpec
from udair_jobs.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from udair_jobs.restore_batch.worker import BatchItem


def recipe_of(spec: BatchSpec, base_digest: str, adapter_digest: str | None) -> str:
    """A digest of all that decides what a restored image looks like."""
    decides = {
        "base": base_digest,
        "adapter": adapter_digest,
        "format": spec.format,
        "quality": spec.quality,
        "tone": spec.tone,
        "memory_budget_bytes": spec.memory_budget_bytes,
        "test_time": asdict(spec.test_time) if spec.test_time.steps else None,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def planned(
    source: Storage, output: Storage, spec: BatchSpec, report: BatchReport, recipe: str
) -> tuple[list[BatchItem], list[BatchRow]]:
    """What to restore, and the rows of what an earlier run restored from the very same object."""
    from udair_jobs.restore_batch.worker import BatchItem

    try:
        listed = [item for item in source.list() if not item.key.endswith("/")]
    except NotFound as error:
        raise JobError("SOURCE_NOT_FOUND", f"cannot list the images: {error}") from error
    except AccessDenied as error:
        raise JobError("ACCESS_DENIED", f"cannot list the images: {error}") from error
    if not listed:
        raise JobError("DATA_EMPTY", f"{source.uri} holds no object; expected images below it.")
    if len(listed) > spec.limits.max_images:
        raise JobError(
            "INVALID_SPEC",
            f"{source.uri} holds {len(listed)} objects; expected at most limits.max_images, "
            f"{spec.limits.max_images}. Raise it, or restore prefix by prefix.",
        )
    in_place = {item.key: item.etag for item in output.list()} if report.earlier else {}
    items: list[BatchItem] = []
    done: list[BatchRow] = []
    for item, target in zip(listed, targets(listed, spec), strict=True):
        known = report.earlier.get(target)
        same = known is not None and (known.key, known.source_etag) == (item.key, item.etag)
        if known is None or known.recipe != recipe:
            items.append(BatchItem(item.key, item.etag, item.size, target))
        elif same and known.state == "SKIPPED":
            done.append(known)
        elif not known.done or in_place.get(target) != known.output_etag:
            items.append(BatchItem(item.key, item.etag, item.size, target))
        elif same:
            done.append(replace(known, state="UNCHANGED"))
        else:
            items.append(BatchItem(item.key, item.etag, item.size, target, known))
    return items, done


def targets(listed: Sequence[ObjectInfo], spec: BatchSpec) -> Iterator[str]:
    """Where each restored file goes: its own name, with the new format's ending.

    Where two would meet (a.jpg and a.bmp as PNG), both keep their whole names: a.jpg.png, a.bmp.png.
    """
    from udair.data.encoding import suffix_of

    suffix = suffix_of(spec.format)
    if suffix is None:
        yield from (item.key for item in listed)
        return
    short = [str(PurePosixPath(item.key).with_suffix(suffix)) for item in listed]
    counts = Counter(short)
    for item, name in zip(listed, short, strict=True):
        yield name if counts[name] == 1 else f"{item.key}{suffix}"
