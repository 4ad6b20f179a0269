"""A version's pictures before and after: their index, the pictures themselves, and thumbnails of them."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from udair_jobs.storage import NotFound as NoObject
from udair_jobs.storage import StorageError
from udair_platform.api.context import Context, Ctx
from udair_platform.console.session import Reader, Session
from udair_platform.entities.version import AdapterVersion
from udair_platform.errors import NotFound, StoreDown
from udair_platform.services import versions

router = APIRouter(prefix="/domains/{name}/versions/{number}")
INDEX = "gallery.json"
KINDS = ("camera", "source", "adapted", "previous", "other")
_NAME = re.compile(r"gallery-[0-9]{3,4}-(camera|source|adapted|previous|other)\.webp")
_MAX_BYTES = 16 * 2**20
_MAX_PIXELS = 4_000_000  # jobs publish crops of 384 x 384; nothing larger is decoded here
_THUMB = (176, 176)
_KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # a version's files never change


@dataclass(frozen=True)
class Picture:
    """One image of the gallery.

    Attributes:
        key: Of the customer's object.
        files: File name by kind: camera, source, adapted, previous, other (the base model with the other intent).
        change: Mean absolute difference of adapted and source, in [0, 1].
        niqe_rise: Of adapted over source; positive is less natural.
    """

    key: str
    files: dict[str, str]
    width: int
    height: int
    change: float
    niqe_rise: float | None

    @property
    def said(self) -> str:
        """How much the adapter changed."""
        rise = "" if self.niqe_rise is None else f" · NIQE {self.niqe_rise:+.2f}"
        return f"changed {100 * self.change:.1f} % by the adapter{rise}"


def index(context: Context, version: AdapterVersion) -> list[Picture]:
    """The version's pictures, worst first; none if its job published none, or they are gone or damaged."""
    try:
        document = json.loads(versions.folder_of(context.store, version).get(INDEX, max_bytes=_MAX_BYTES))
        return [_picture(item) for item in document["images"]]
    except (StorageError, ValueError, KeyError, TypeError, AttributeError):
        return []


@router.get("/pictures/{file}")
def picture(name: str, number: int, file: str, context: Ctx, visitor: Reader) -> Response:
    """One picture as the job published it."""
    return Response(_read(context, visitor, name, number, file), media_type="image/webp", headers=_KEPT)


@router.get("/thumbs/{file}")
def thumb(name: str, number: int, file: str, context: Ctx, visitor: Reader) -> Response:
    """The same picture, small."""
    data = _read(context, visitor, name, number, file)
    return Response(_small(data, file), media_type="image/webp", headers=_KEPT)


def _read(context: Context, visitor: Session, name: str, number: int, file: str) -> bytes:
    who = visitor.principal
    if not _NAME.fullmatch(file):
        raise NotFound(f"There is no picture {file[:80]!r}.")
    with context.database.read() as state:
        domain = who.domain(state, name)
        version = state.versions.get(who.tenant, domain.id, number)
    try:
        return versions.folder_of(context.store, version).get(file, max_bytes=_MAX_BYTES)
    except NoObject as error:
        raise NotFound(f"The picture {file} is gone from the store.") from error
    except StorageError as error:
        raise StoreDown(f"The picture cannot be read now: {error}") from error


def _small(data: bytes, file: str) -> bytes:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise NotFound(f"The picture {file} has {image.width} x {image.height} pixels: too many to be shown.")
            image.thumbnail(_THUMB)
            small = io.BytesIO()
            image.save(small, "WEBP", quality=72, method=2)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NotFound(f"The picture {file} cannot be decoded.") from error
    return small.getvalue()


def _picture(item: dict[str, Any]) -> Picture:
    files = {kind: str(name) for kind, name in item["files"].items() if kind in KINDS and _NAME.fullmatch(str(name))}
    rise = item.get("niqe_rise")
    if not {"source", "adapted"} <= files.keys():
        raise KeyError("files")
    return Picture(
        str(item["key"]),
        files,
        int(item["width"]),
        int(item["height"]),
        float(item["change"]),
        None if rise is None else float(rise),
    )
