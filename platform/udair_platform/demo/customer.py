"""A customer for the demo: real photographs, and a night camera that the source model never saw.

The camera is simulated from physics, not with the library's degradation families: little light
falls on a small Bayer sensor, photons are counted, gain lifts signal and read noise alike, and the
camera interpolates the mosaic, which leaves coloured grain several pixels wide. The source model
was trained on white noise. Clean originals stay with the customer.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from udair.data.images import DecodeLimits, ImageArray, decode, encode_png
from udair.errors import ImageError
from udair_jobs.storage import open_storage
from udair_platform.errors import SettingsError

SIDE = 160  # of a photograph's crop, pixels
DEFAULT_COUNT = 36
WHITE_BALANCE = (1.06, 1.0, 0.92)
PHOTONS, READ_NOISE = 30.0, 0.08  # full-well photons at this gain; read noise relative to white

Plane = npt.NDArray[np.float64]


def photographs(images: str | None, count: int | None) -> list[ImageArray]:
    """Clean photographs, (SIDE, SIDE, 3) uint8 each.

    Args:
        images: Folder or s3:// prefix of the user's own; scikit-image's if None.
        count: At most this many; 36 if None.

    Raises:
        SettingsError: Fewer than two usable photographs were found.
    """
    wanted = count or DEFAULT_COUNT
    found = _shipped() if images is None else _own(images, wanted)
    crops = [crop for image in found for crop in _crops(image)]
    if len(crops) < 2:
        raise SettingsError(
            f"{images} holds {len(crops)} usable photographs of {SIDE} x {SIDE} pixels or more; expected 2, better 20."
        )
    # Every n-th, so that few still come from many photographs.
    step = max(1, len(crops) // wanted)
    return crops[::step][:wanted]


def night_camera(clean: ImageArray, rng: np.random.Generator) -> ImageArray:
    """What the customer's camera makes of a scene; (H, W, 3) uint8 of the same size."""
    scene = clean / 255.0 * np.array(WHITE_BALANCE)
    height, width = scene.shape[:2]
    channel = np.zeros((height, width), dtype=np.intp)  # RGGB
    channel[0::2, 1::2] = channel[1::2, 0::2] = 1
    channel[1::2, 1::2] = 2
    light = np.take_along_axis(scene, channel[..., None], axis=2)[..., 0]
    counted = rng.poisson(np.clip(light, 0, 1) * PHOTONS) / PHOTONS
    mosaic = counted + rng.normal(0, READ_NOISE, counted.shape)
    planes = [_interpolate(mosaic, channel == index) for index in range(3)]
    return np.clip(np.rint(np.stack(planes, axis=2) * 255), 0, 255).astype(np.uint8)


def uploads(degraded: list[ImageArray]) -> dict[str, bytes]:
    """Object names to bytes, as they lie in the customer's bucket: images, and what strays among them."""
    objects = {f"cam {index % 3 + 1}/frame-{index:03d}.png": encode_png(image) for index, image in enumerate(degraded)}
    whole = io.BytesIO()
    Image.fromarray(degraded[0]).save(whole, format="JPEG", quality=90)
    objects["cam 1/interrupted-upload.jpg"] = whole.getvalue()[: len(whole.getvalue()) // 2]
    objects["cam 1/notes.txt"] = b"lens cleaned on Tuesday\n"
    return objects


def _interpolate(mosaic: Plane, known: npt.NDArray[np.bool_]) -> Plane:
    """Bilinear demosaicing of one colour: the weighted mean of the known neighbours."""
    weights = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    value, weight = np.pad(mosaic * known, 1, mode="reflect"), np.pad(known.astype(float), 1, mode="reflect")
    height, width = mosaic.shape
    total, share = np.zeros((height, width)), np.zeros((height, width))
    for down in range(3):
        for right in range(3):
            total += weights[down, right] * value[down : down + height, right : right + width]
            share += weights[down, right] * weight[down : down + height, right : right + width]
    return np.where(known, mosaic, total / share)


def _shipped() -> list[ImageArray]:
    from skimage import data

    return [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.stereo_motorcycle()[0]]


def _own(images: str, wanted: int) -> list[ImageArray]:
    uri = images if "://" in images else str(Path(images).expanduser().absolute())
    store = open_storage(uri)
    found: list[ImageArray] = []
    for entry in store.list():
        try:
            found.append(decode(store.get(entry.key, max_bytes=64 * 2**20), DecodeLimits(min_side=SIDE)))
        except ImageError:
            continue  # the user's folder may hold anything; what is used is counted in the report
        if len(found) == wanted:
            break
    return found


def _crops(image: ImageArray) -> list[ImageArray]:
    rows, columns = image.shape[0] // SIDE, image.shape[1] // SIDE
    corners = [(SIDE * row, SIDE * column) for row in range(rows) for column in range(columns)]
    return [np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE, :3]) for top, left in corners]
