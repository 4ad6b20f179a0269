"""Before and after: a few of the domain's own images that no adapter was fitted on, worst first.

Each picture is restored whole, as the endpoint does it (`udair.inference.restore` of the model `as_served`), and its
middle is shown.

There is no truth to compare with: the order follows naturalness (NIQE), which a person should look past.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.config import Tone
from udair.data.encoding import ImageMetadata, encode
from udair.data.images import ImageArray
from udair.data.patches import to_array, to_tensor
from udair.inference import restore
from udair.metrics import niqe, niqe_features
from udair.models.served import as_served
from udair.tiling import ENDPOINT_PIECE_BYTES
from udair_jobs.runtime.results import to_json

if TYPE_CHECKING:
    from udair.bundle import Bundle

INDEX = "gallery.json"
SIDE = 384  # an adapter changes texture: a crop at full resolution shows it, a thumbnail hides it
_QUALITY = 88


@dataclass(frozen=True)
class Views:
    """One image as the camera saw it and as each model restores it; (H, W, 3) uint8.

    Attributes:
        previous: What the domain was served with when the job began; None if that is the base model.
        other: What the base model makes of it with the other intent.
        change: Mean absolute difference of adapted and source, in [0, 1].
        niqe_rise: Of adapted over source; positive is less natural. NaN where the image is too small to say.
    """

    key: str
    camera: ImageArray
    source: ImageArray
    adapted: ImageArray
    previous: ImageArray | None
    other: ImageArray
    change: float
    niqe_rise: float


def look_at_images(
    bundle: Bundle,
    images: Sequence[ImageArray],
    keys: Sequence[str],
    adapter: Adapter,
    champion: Adapter | None,
    *,
    most: int,
) -> list[Views]:
    """Restore at most `most` images, evenly chosen, by the base model with both intents, the adapter and the champion."""
    step = max(1, math.ceil(len(images) / most)) if most else 0
    chosen = range(0, len(images), step) if step else range(0)
    bundle = replace(bundle, model=as_served(bundle.model))
    found = [_views(bundle, images[at], keys[at], adapter, champion) for at in chosen]
    return sorted(found, key=lambda views: (-views.niqe_rise if math.isfinite(views.niqe_rise) else 0.0, views.key))


def files(views: Sequence[Views]) -> dict[str, bytes]:
    """What is published: pictures, and an index that says what they are."""
    made: dict[str, bytes] = {}
    items: list[dict[str, Any]] = []
    for number, one in enumerate(views):
        shown = {
            "camera": one.camera,
            "source": one.source,
            "adapted": one.adapted,
            "previous": one.previous,
            "other": one.other,
        }
        names = {kind: f"gallery-{number:03d}-{kind}.webp" for kind, image in shown.items() if image is not None}
        made |= {names[kind]: _picture(image) for kind, image in shown.items() if image is not None}
        height, width = one.camera.shape[:2]
        rise = one.niqe_rise if math.isfinite(one.niqe_rise) else None
        items.append(
            {
                "key": one.key,
                "files": names,
                "width": width,
                "height": height,
                "change": round(one.change, 5),
                "niqe_rise": None if rise is None else round(rise, 3),
            }
        )
    return made | {INDEX: to_json({"schema_version": 1, "images": items})}


def _views(bundle: Bundle, camera: ImageArray, key: str, adapter: Adapter, champion: Adapter | None) -> Views:
    pixels, tone = to_tensor([camera])[0], adapter.tone
    served = partial(restore, bundle.model, pixels, piece_bytes=ENDPOINT_PIECE_BYTES)
    other: Tone = "restore" if tone == "keep" else "keep"
    with torch.inference_mode():
        before = _middle(served(tone=tone))
        after = _middle(served(adapter.row, tone=tone))
        earlier = None if champion is None else _shown(served(champion.row, tone=tone))
        otherwise = _shown(served(tone=other))
        mean, cov = bundle.stats.niqe_mean_F, bundle.stats.niqe_cov_FF
        rise = niqe(niqe_features(after), mean, cov) - niqe(niqe_features(before), mean, cov)
    source, adapted = to_array(torch.stack([before, after]))
    change = float((after - before).abs().mean())
    return Views(key, _shown(pixels), source, adapted, earlier, otherwise, change, rise)


def _middle(image_CHW: Tensor) -> Tensor:
    height, width = image_CHW.shape[1:]
    top, left = max(0, height - SIDE) // 2, max(0, width - SIDE) // 2
    return image_CHW[:, top : top + SIDE, left : left + SIDE]


def _shown(image_CHW: Tensor) -> ImageArray:
    shown: ImageArray = to_array(_middle(image_CHW)[None])[0]
    return shown


def _picture(image: ImageArray) -> bytes:
    return encode(image, ImageMetadata("WEBP"), format="webp", quality=_QUALITY)
