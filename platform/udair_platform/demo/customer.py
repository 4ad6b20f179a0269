"""A customer for the demo: real photographs, and a phone's camera at night that the base model never saw.

The camera is simulated from physics, not with the library's degradation families: little light
falls on a small Bayer sensor, photons are counted, the camera interpolates the mosaic, lifts shadows by its tone curve and
smooths colour more than brightness, which leaves blotches several pixels wide. The truth is what the same
camera makes of a long exposure; it stays with the customer.
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
SENSITIVITY = (0.55, 1.0, 0.7)  # of red, green and blue pixels: white balance undoes it
PHOTONS, READ_NOISE = 50.0, 0.01  # photons at white; read noise relative to white
GAMMA = 2.2
SMOOTHED = (1, 3)  # passes over brightness and over colour

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
    """What the customer's camera makes of a scene at night; (H, W, 3) uint8 of the same size."""
    mosaic, channel = _sensed(clean)
    counted = rng.poisson(mosaic * PHOTONS) / PHOTONS
    return _developed(counted + rng.normal(0, READ_NOISE, counted.shape), channel)


def long_exposure(clean: ImageArray) -> ImageArray:
    """What the same camera makes of the scene with all the light that it wants: the truth."""
    return _developed(*_sensed(clean))


def _sensed(clean: ImageArray) -> tuple[Plane, npt.NDArray[np.intp]]:
    """Light on each pixel of the sensor (H, W), white is 1, and which colour it sees."""
    scene = (clean / 255.0) ** GAMMA * np.array(SENSITIVITY)
    channel = np.zeros(scene.shape[:2], dtype=np.intp)  # RGGB
    channel[0::2, 1::2] = channel[1::2, 0::2] = 1
    channel[1::2, 1::2] = 2
    return np.take_along_axis(scene, channel[..., None], axis=2)[..., 0], channel


def _developed(mosaic: Plane, channel: npt.NDArray[np.intp]) -> ImageArray:
    planes = [_interpolate(mosaic, channel == index) / SENSITIVITY[index] for index in range(3)]
    image = np.clip(np.stack(planes, axis=2), 0, 1) ** (1 / GAMMA)
    grey = image.mean(axis=2, keepdims=True)
    brightness, colour = _smoothed(grey, SMOOTHED[0]), _smoothed(image - grey, SMOOTHED[1])
    return np.clip(np.rint((brightness + colour) * 255), 0, 255).astype(np.uint8)


def _smoothed(image: Plane, passes: int) -> Plane:
    """Passes of a small tent over rows and columns."""
    height, width = image.shape[:2]
    for _ in range(passes):
        rows = np.pad(image, ((1, 1), (0, 0), (0, 0)), mode="reflect")
        image = (rows[:height] + 4 * rows[1 : height + 1] + rows[2:]) / 6
        columns = np.pad(image, ((0, 0), (1, 1), (0, 0)), mode="reflect")
        image = (columns[:, :width] + 4 * columns[:, 1 : width + 1] + columns[:, 2:]) / 6
    return image


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
