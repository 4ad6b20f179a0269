"""Write docs/images/what-it-restores.webp: above what a camera saw, below what the base model makes of it.

python docs/make_restores.py

The photographs are those of scikit-image that are free to show: the astronaut (NASA), the cup of coffee (Rachel Michetti, CC0)
and the cat Chelsea (Stefan van der Walt, CC0). The damage is that of the benchmarks' worlds, and of a drawn kernel.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data, filters

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from worlds import dusk, gaussian, jpeg, rain, shake, to_image, to_plane  # noqa: E402

from udair.bundle import load_bundle  # noqa: E402
from udair.data.patches import to_array, to_tensor  # noqa: E402
from udair.inference import restore  # noqa: E402
from udair.weights import packaged  # noqa: E402

SIDE = 192
GAP = 4


def shaken() -> np.ndarray:
    """The path of a hand during an exposure, as a kernel that sums to one."""
    path = np.zeros((21, 21))
    for at in np.linspace(0, 1, 200):
        path[int(3 + 14 * at), int(10 + 6 * np.sin(3.4 * at))] += 1
    kernel = filters.gaussian(path, 0.6)
    return kernel / kernel.sum()


def cut(image: np.ndarray, top: int, left: int) -> np.ndarray:
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE, :3])


def main() -> None:
    astronaut, cat, coffee = data.astronaut(), data.chelsea(), data.coffee()
    cases = [
        (cut(astronaut, 20, 130), gaussian(25), "keep"),
        (cut(cat, 40, 130), jpeg(12), "keep"),
        (cut(coffee, 90, 150), rain(0.003, 12, 20, 0.0), "keep"),
        (cut(cat, 40, 130), dusk(0.3, 1.3, (1.0, 1.0, 1.0), 1000), "restore"),
        (cut(astronaut, 20, 130), shake([shaken()]), "keep"),
    ]
    bundle, rng = load_bundle(packaged("base")), np.random.default_rng(0)
    sheet = np.full((2 * SIDE + GAP, len(cases) * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for column, (clean, damage, tone) in enumerate(cases):
        camera = to_image(damage(to_plane(clean), rng))
        answer = to_array(restore(bundle.model, to_tensor([camera])[0], tone=tone))
        left = column * (SIDE + GAP)
        sheet[:SIDE, left : left + SIDE], sheet[SIDE + GAP :, left : left + SIDE] = camera, answer
    Image.fromarray(sheet).save(ROOT / "docs/images/what-it-restores.webp", quality=82)


if __name__ == "__main__":
    main()
