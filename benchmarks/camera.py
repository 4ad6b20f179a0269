"""A digital camera, written apart from the families that training and matching know: exposure to JPEG.

Photons and read noise on a Bayer mosaic, demosaicing along edges, white balance, tone curve, smoothing and
sharpening in the camera, 4:2:0 JPEG. The truth is the same camera without noise, as a long exposure would give.

Images are (H, W, 3) uint8 RGB; planes inside are float64 in [0, 1].
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from udair.data.images import ImageArray, decode

Plane = npt.NDArray[np.float64]

ISO_STEPS = (400, 800, 1600, 3200, 6400)
_FULL_WELL_AT_100 = 6000.0  # electrons at white: a small sensor
_READ_ELECTRONS = 3.0
_LIGHT = np.array([0.52, 1.0, 0.66])  # what the sensor gets of white light: the white balance undoes it


def shoot(image: ImageArray, iso: int | None, rng: np.random.Generator, quality: int = 92) -> ImageArray:
    """A photograph of a scene that looks like `image`; `iso` None is the exposure without noise.

    Args:
        image: The scene, with even sides.
        iso: Gain: electrons at white are 600,000 over it.
        rng: Of photons and electronics.
        quality: Of the JPEG.
    """
    scene = (np.asarray(image, dtype=np.float64) / 255) ** 2.2 * _LIGHT
    raw = _mosaic(scene)
    if iso is not None:
        well = _FULL_WELL_AT_100 * 100 / iso
        electrons = rng.poisson(raw * well) + rng.normal(0, _READ_ELECTRONS, raw.shape)
        raw = np.clip(np.round(electrons / well * 1023 + 64) - 64, -64, 959) / 1023  # ten bits above a black level
    colour = np.clip(_demosaiced(raw) / _LIGHT, 0, 1)
    developed = colour ** (1 / 2.2)
    if iso is not None and iso >= 1600:
        developed = _luma_chroma_smoothed(developed, luma=0.35 if iso < 6400 else 0.55, chroma=1.6)
    elif iso is not None:
        developed = _luma_chroma_smoothed(developed, luma=0.0, chroma=0.8)
    sharpened = developed + 0.25 * (developed - _gauss(developed, 1.0))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.rint(sharpened * 255), 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue())


def _mosaic(colour: Plane) -> Plane:
    """RGGB samples (H, W)."""
    raw = colour[..., 1].copy()
    raw[::2, ::2] = colour[::2, ::2, 0]
    raw[1::2, 1::2] = colour[1::2, 1::2, 2]
    return raw


def _demosaiced(raw: Plane) -> Plane:
    """Green along the smaller gradient (Hamilton and Adams 1997), then colour differences interpolated linearly."""
    padded = np.pad(raw, 2, mode="reflect")

    def at(down: int, right: int) -> Plane:
        return padded[2 + down : 2 + down + raw.shape[0], 2 + right : 2 + right + raw.shape[1]]

    across = np.abs(at(0, -1) - at(0, 1)) + np.abs(2 * raw - at(0, -2) - at(0, 2))
    along = np.abs(at(-1, 0) - at(1, 0)) + np.abs(2 * raw - at(-2, 0) - at(2, 0))
    flat = (at(0, -1) + at(0, 1)) / 2 + (2 * raw - at(0, -2) - at(0, 2)) / 4
    tall = (at(-1, 0) + at(1, 0)) / 2 + (2 * raw - at(-2, 0) - at(2, 0)) / 4
    green = np.where(across < along, flat, np.where(along < across, tall, (flat + tall) / 2))
    green[::2, 1::2], green[1::2, ::2] = raw[::2, 1::2], raw[1::2, ::2]
    planes = []
    for first in (0, 1):
        difference = np.zeros_like(raw)
        difference[first::2, first::2] = (raw - green)[first::2, first::2]
        known = np.zeros_like(raw)
        known[first::2, first::2] = 1
        planes.append(green + _tent(difference) / _tent(known))
    return np.stack([planes[0], green, planes[1]], axis=2)


def _tent(plane: Plane) -> Plane:
    for axis in (0, 1):
        width = [(1, 1) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(plane, width, mode="reflect")
        n = plane.shape[axis]
        before, here, behind = (np.take(padded, range(k, k + n), axis) for k in (0, 1, 2))
        plane = (before + 2 * here + behind) / 4
    return plane


def _gauss(plane: Plane, sigma: float) -> Plane:
    if sigma <= 0:
        return plane
    reach = int(3 * sigma + 1)
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    line /= line.sum()
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in range(plane.ndim)]
        padded = np.pad(plane, width, mode="reflect")
        n = plane.shape[axis]
        plane = sum(w * np.take(padded, range(k, k + n), axis) for k, w in enumerate(line))
    return plane


def _luma_chroma_smoothed(colour: Plane, luma: float, chroma: float) -> Plane:
    """What cameras do against noise: a little to brightness, more to colour."""
    grey = colour @ np.array([0.299, 0.587, 0.114])
    return _gauss(grey, luma)[..., None] + _gauss(colour - grey[..., None], chroma)
