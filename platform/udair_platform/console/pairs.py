"""Pictures as two versions of a domain restore them: those that the jobs of both published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from udair_jobs.errors import CandidateError
from udair_jobs.published.candidates import read_manifest
from udair_jobs.storage import StorageError
from udair_platform.api.context import Context
from udair_platform.console import pictures
from udair_platform.entities.domain import Domain
from udair_platform.entities.version import AdapterVersion
from udair_platform.services import versions


@dataclass(frozen=True)
class Pair:
    """One picture as both restore it.

    Attributes:
        files: Addresses by kind: a, b, and camera and source (the base model) where both mean the same by them.
        thumb: Address of a small one.
        said: How much each version changed.
    """

    key: str
    width: int
    height: int
    files: Mapping[str, str]
    thumb: str = ""
    said: str = ""


def held_by_both(context: Context, domain: Domain, both: Sequence[AdapterVersion | None]) -> tuple[list[Pair], str]:
    """The pictures that both hold, in the order of the right one's, and what is to be said where they do not hold the same.

    What the base model makes of a picture stands beside what the other makes of it.
    """
    left, right = both[0] or both[1], both[1] or both[0]
    assert left is not None, "the base model is not compared with itself"
    assert right is not None
    ours, theirs = ({item.key: item for item in pictures.index(context, one)} for one in (left, right))
    gone = [f"version {one.number}" for one, held in ((left, ours), (right, theirs)) if not held]
    if gone:
        which = " and ".join(dict.fromkeys(gone))
        return [], f"The pictures of {which} are gone from the store, or none were published (UDAIR_GALLERY_IMAGES)."
    common = [key for key in theirs if key in ours]
    if left.snapshot_id != right.snapshot_id:  # one key may have named two pictures
        were, are = (_digests(context, one) for one in (left, right))
        common = [key for key in common if _seen(ours[key], were) == _seen(theirs[key], are) != ""]
    shown = [_pair(domain, (left, right), (ours[key], theirs[key]), both) for key in common]
    every = len(ours.keys() | theirs.keys())
    if len(common) == every:
        return shown, ""
    why = "They were made of different snapshots. " if left.snapshot_id != right.snapshot_id else ""
    return shown, f"{why}{len(common)} of their {every} pictures are in both; no other is shown."


def _pair(
    domain: Domain,
    held: tuple[AdapterVersion, AdapterVersion],
    items: tuple[pictures.Picture, pictures.Picture],
    both: Sequence[AdapterVersion | None],
) -> Pair:
    base = f"/console/domains/{domain.name}/versions"

    def at(side: int, kind: str, folder: str = "pictures") -> str:
        return f"{base}/{held[side].number}/{folder}/{items[side].files[kind]}"

    files = {name: at(side, "adapted" if both[side] else "source") for side, name in enumerate("ab")}
    alike = all(both) and (held[0].base_digest, held[0].tone) == (held[1].base_digest, held[1].tone)
    files |= {kind: at(1, kind) for kind in ("camera", *(["source"] if alike else [])) if kind in items[1].files}
    changed = [
        f"{100 * item.change:.1f} % by version {one.number}" for one, item in zip(both, items, strict=True) if one
    ]
    width, height = items[1].width, items[1].height
    return Pair(items[1].key, width, height, files, at(1, "adapted", "thumbs"), f"changed {', '.join(changed)}")


def _seen(item: pictures.Picture, digests: Mapping[str, str]) -> str:
    """What tells the picture as the camera saw it from others; empty where that is not known."""
    return digests.get(item.files.get("camera", ""), "")


def _digests(context: Context, version: AdapterVersion) -> dict[str, str]:
    """SHA-256 of the version's files, by name, as its manifest has them."""
    try:
        manifest = read_manifest(versions.folder_of(context.store, version))
    except (CandidateError, StorageError):
        return {}
    return {name: record.sha256 for name, record in manifest.files.items()}
