"""Images in a folder of the caller's machine, with the names that they are uploaded under."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from udair_platform.client.errors import ClientError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_CHARS = 200


@dataclass(frozen=True)
class LocalImage:
    """One file, and the name of it in the domain."""

    path: Path
    name: str


@dataclass
class Uploaded:
    """What became of a folder.

    Attributes:
        images: How many were uploaded.
        bytes: Of all of them.
        left_out: Files that were not, and why.
    """

    images: int = 0
    bytes: int = 0
    left_out: list[tuple[Path, str]] = field(default_factory=list)


def local_images(folder: str | os.PathLike[str]) -> tuple[list[LocalImage], list[tuple[Path, str]]]:
    """The image files below a folder, in name order, and the files that are none by their names.

    Raises:
        ClientError: There is no such folder, or no image in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ClientError(f"{root} is no folder here; expected one with images, or s3://bucket/prefix.")
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    found = [LocalImage(path, _name(path.relative_to(root))) for path in files if path.suffix.lower() in SUFFIXES]
    others = [(path, "its name is no image's") for path in files if path.suffix.lower() not in SUFFIXES]
    if not found:
        raise ClientError(
            f"{root} holds no image; expected files that end in {', '.join(SUFFIXES)}"
            + (f", there are {len(others)} others." if others else ".")
        )
    return found, others


def _name(path: Path) -> str:
    """A name that the platform takes, and no other file of the folder has."""
    plain = _OTHER.sub("-", path.as_posix()).lstrip("._-")
    if plain == path.as_posix() and len(plain) <= _MOST_CHARS:
        return plain
    mark = hashlib.sha256(path.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem, suffix = os.path.splitext(plain)
    return f"{stem[: _MOST_CHARS - len(suffix) - 9] or 'image'}-{mark}{suffix}"
