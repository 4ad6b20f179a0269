"""How well noise is told from a set's images alone, and whether the estimator abstains where there is none.

python benchmarks/estimation.py --data data --json benchmarks/results/estimation.json

Planted truth on sixteen photographs of CBSD68 and of Kodak24 (256 px), as they are, softer (the middle, enlarged) and
scaled down by half: Gaussian noise of six levels, white and smooth over a pixel. Clipping is part of it, as in cameras.
"Told" means that the estimator does not abstain: its flat places are even.
"""

from __future__ import annotations

import numpy as np
from photographs import centre, folder
from PIL import Image
from report import Figure, arguments, publish

from udair.adaptation.flat_bank import LEAST_LEVEL, MOST_UNEVEN
from udair.data.images import ImageArray
from udair.estimation.noise import noise_bank

LEVELS = (0.01, 0.03, 0.06, 0.1, 0.16, 0.25)
SETS = 12  # photographs of a set that is looked at for abstention


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    rows: list[dict[str, object]] = []
    clean: list[bool] = []
    for name in ("CBSD68", "Kodak24"):
        images = folder(options.data, f"test/{name}/target")
        for content in ("as it is", "softer", "half size"):
            scenes = [_content(image, content) for image in images[1::2]]
            for first in range(0, len(scenes) - SETS + 1, SETS // 3):
                bank = noise_bank(scenes[first : first + SETS])
                clean.append(bank is None or bank.level < LEAST_LEVEL or bank.evenness > MOST_UNEVEN)
            for level in LEVELS[1::2] if options.quick else LEVELS:
                rows += [_row(name, content, scenes[:16], level, smooth, options.seed) for smooth in (False, True)]
    told = [row for row in rows if row["told"]]
    worst = sorted(abs(float(row["error"])) for row in told)
    figures = {
        "noise_level_error_median": Figure(round(float(np.median(worst)), 4), "relative, where told", None, 0.03),
        "noise_level_error_p90": Figure(round(float(np.quantile(worst, 0.9)), 4), "relative, where told", None, 0.10),
        "noise_told_share": Figure(round(len(told) / len(rows), 3), "of planted sets"),
        "clean_abstains_share": Figure(round(float(np.mean(clean)), 3), "of clean sets", 0.95),
        "clean_sets": Figure(len(clean), "sets"),
    }
    publish("estimation", figures, options, sets=rows)


def _row(name: str, content: str, scenes: list[ImageArray], level: float, smooth: bool, seed: int) -> dict[str, object]:
    rng = np.random.default_rng([seed, int(1000 * level), smooth])
    bank = noise_bank([_noisy(scene, level, smooth, rng) for scene in scenes])
    told = bank is not None and bank.evenness <= MOST_UNEVEN
    error = bank.level / level - 1 if bank is not None else float("nan")
    row = {
        "set": name, "content": content, "level": level, "smooth": smooth, "told": told, "error": round(error, 4),
        "evenness": round(bank.evenness, 3) if bank else None, "patches": len(bank.colour_NC) if bank else 0,
    }  # fmt: skip
    print(row, flush=True)
    return row


def _content(image: ImageArray, kind: str) -> ImageArray:
    if kind == "as it is":
        return centre(image, 256)
    side = min(image.shape[:2])
    if kind == "softer":
        return np.asarray(Image.fromarray(centre(image, side // 2)).resize((256, 256), Image.Resampling.BICUBIC))
    return np.asarray(Image.fromarray(centre(image, side)).resize((side // 2,) * 2, Image.Resampling.LANCZOS))


def _noisy(image: ImageArray, level: float, smooth: bool, rng: np.random.Generator) -> ImageArray:
    noise = rng.normal(0, 1, image.shape)
    if smooth:
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
    return np.clip(np.rint(image + 255 * level * noise), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
