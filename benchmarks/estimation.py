"""How well noise, JPEG and rain are told from a set's images alone, and whether estimators abstain where there is none.

python benchmarks/estimation.py --data data --json benchmarks/results/estimation.json

Planted truth on sixteen photographs of CBSD68 and of Kodak24 (256 px), as they are, softer (the middle, enlarged) and
scaled down by half: Gaussian noise of six levels, white and smooth over a pixel. Clipping is part of it, as in cameras.
"Told" means that the estimator does not abstain: its flat places are even.
"""

from __future__ import annotations

import argparse
import io

import numpy as np
from photographs import centre, folder
from PIL import Image
from report import Figure, arguments, publish
from worlds import rain as drawn_rain
from worlds import to_image, to_plane

from udair.adaptation.flat_bank import LEAST_LEVEL, MOST_UNEVEN
from udair.data.images import ImageArray, decode
from udair.estimation.jpeg import luminance_table, quality_of, quality_of_pixels
from udair.estimation.noise import noise_bank
from udair.estimation.rain import rain

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
    figures |= _jpeg(options) | _rain(options)
    publish("estimation", figures, options, sets=rows)


def _jpeg(options: argparse.Namespace) -> dict[str, Figure]:
    """Pillow's encoder at planted qualities: from the files' tables, and from the decoded pixels alone."""
    by_table, by_pixels, told, clean = [], [], [], []
    for name in ("CBSD68", "Kodak24"):
        scenes = [centre(image, 256) for image in folder(options.data, f"test/{name}/target")[1::2]]
        clean += [quality_of_pixels(scenes[first : first + 4]) is None for first in range(0, len(scenes) - 3, 4)]
        for quality in (10, 30, 50, 70, 80, 90, 95)[:: 3 if options.quick else 1]:
            files = [_compressed(scene, quality) for scene in scenes[:8]]
            tables = [luminance_table(file) for file in files]
            by_table += [abs(quality_of(table) - quality) for table in tables if table is not None]
            found = quality_of_pixels([decode(file) for file in files])
            told.append(found is not None)
            by_pixels += [] if found is None else [abs(found - quality)]
            print(f"JPEG {name} {quality}: {found}", flush=True)
    return {
        "jpeg_table_error_max": Figure(max(by_table), "quality", None, 0),
        "jpeg_pixels_error_max": Figure(max(by_pixels), "quality, where told", None, 4),
        "jpeg_pixels_told_share": Figure(round(float(np.mean(told)), 3), "of planted sets"),
        "jpeg_clean_abstains_share": Figure(round(float(np.mean(clean)), 3), "of sets of four", 0.95),
    }


def _compressed(image: ImageArray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _rain(options: argparse.Namespace) -> dict[str, Figure]:
    """Drawn strokes of planted direction, density and length over twelve photographs."""
    errors, told, clean = [], [], []
    for name in ("CBSD68", "Kodak24"):
        photographs = folder(options.data, f"test/{name}/target")
        scenes = [centre(image, 256) for image in photographs]
        for first in range(0, len(photographs) - SETS + 1, SETS // 3):
            # Their middle, upright and turned: a row of houses has one direction, too.
            for turn in (0, 1):
                found = rain([np.rot90(image, turn).copy() for image in photographs[first : first + SETS]])
                clean.append(found is None or not found.told)
        for angle in (-65, -40, -15, 0, 8, 25, 50)[:: 3 if options.quick else 1]:
            for drops, length in ((0.012, 22), (0.003, 12), (0.0015, 30)):
                rng = np.random.default_rng([options.seed, 100 + angle, length])
                damage = drawn_rain(drops, length, angle, 0.1)
                found = rain([to_image(damage(to_plane(scene), rng)) for scene in scenes[:SETS]])
                told.append(found is not None and found.told)
                if found is not None and found.told:
                    errors.append(abs((found.direction_deg - angle + 90) % 180 - 90))
                print(f"rain {name} {angle} {drops} {length}: {found}", flush=True)
    return {
        "rain_direction_error_p90_deg": Figure(round(float(np.quantile(errors, 0.9)), 2), "degrees, told", None, 4.0),
        "rain_direction_error_max_deg": Figure(round(float(max(errors)), 2), "degrees, told"),
        "rain_told_share": Figure(round(float(np.mean(told)), 3), "of planted sets"),
        "rain_clean_abstains_share": Figure(round(float(np.mean(clean)), 3), "of clean sets", 0.95),
    }


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
