"""What a user would do instead: a classical denoiser, told the noise level that the picture itself shows.

Neither is needed: BM3D's licence is for non-commercial use, OpenCV is large. Whichever is installed is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from udair.data.images import ImageArray
from udair.estimation.noise import haar_level
from udair_jobs.errors import JobError

Classical = Literal["bm3d", "opencv"]
Denoise = Callable[[ImageArray], ImageArray]

MODULES: dict[Classical, str] = {"bm3d": "bm3d", "opencv": "cv2"}
PACKAGES: dict[Classical, str] = {"bm3d": "bm3d", "opencv": "opencv-python-headless"}


def classical(wanted: Literal["auto", "bm3d", "opencv", "none"]) -> tuple[Classical, Denoise] | None:
    """The denoiser that was asked for, by its name; None where none is, or with ``auto`` where none is installed.

    Raises:
        JobError: INVALID_SPEC, the one asked for is not installed.
    """
    if wanted == "none":
        return None
    names: tuple[Classical, ...] = ("bm3d", "opencv") if wanted == "auto" else (wanted,)
    for name in names:
        if importlib.util.find_spec(MODULES[name]) is not None:
            return name, _bm3d if name == "bm3d" else _opencv
    if wanted == "auto":
        return None
    raise JobError(
        "INVALID_SPEC",
        f"classical={wanted} is not installed. Run: python -m pip install {PACKAGES[names[0]]}; or set classical=none.",
    )


def _bm3d(image: ImageArray) -> ImageArray:
    """Dabov et al. 2007, CBM3D."""
    module: Any = importlib.import_module(MODULES["bm3d"])
    plane = image.astype(np.float64) / 255
    restored = np.asarray(module.bm3d_rgb(plane, max(haar_level(plane), 1e-3)))
    return np.asarray(np.clip(np.rint(255 * restored), 0, 255).astype(np.uint8))


def _opencv(image: ImageArray) -> ImageArray:
    """Non-local means (Buades et al. 2005), at the strength that OpenCV's page recommends for the level."""
    module: Any = importlib.import_module(MODULES["opencv"])
    strength = float(255 * haar_level(image.astype(np.float64) / 255))
    return np.asarray(module.fastNlMeansDenoisingColored(image, None, strength, strength, 7, 21))
