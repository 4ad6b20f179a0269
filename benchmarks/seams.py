"""Do pieces of a picture show? And how much memory does the largest picture take?

python benchmarks/seams.py --data data --json benchmarks/results/seams.json

Every real dark, hazy and rainy photograph of the data folder is restored twice, whole and in the smallest pieces, with
the intent that moves tone (the harder one); so is a picture of 12 megapixels, a mosaic of test photographs at twice
their size, darkened, since no photograph of that size may be shipped. The largest difference is counted in levels of
8 bits. A picture of 50 megapixels, made the same way, is restored in a process of its own, whose
peak of resident memory is the figure: interpreter, libraries and the decoded picture included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from models import base
from photographs import folder
from report import Figure, arguments, publish

from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import to_tensor
from udair.inference import restore
from udair.tiling import SMALLEST_TILE, plan

REAL = {"dark": "real/lowlight", "hazy": "real/haze", "rainy": "real/rain"}
TONE: Tone = "restore"
MOST_LEVELS, MOST_BYTES = 2.0, 4e9
# Megapixels, height and width.
LARGE, LARGEST = (12, 3000, 4000), (50, 5792, 8632)

PEAK = """
import json, sys, time
import numpy as np, torch
from models import base
from udair.data.patches import to_array
from udair.inference import restore
name, threads, source = sys.argv[1:4]
torch.set_num_threads(int(threads))
model = base(name).model
picture = np.load(source)
plane = torch.from_numpy(picture).permute(2, 0, 1).float().div_(255)
started = time.monotonic()
answer = to_array(restore(model, plane, tone="restore"))
assert answer.shape == picture.shape
took = time.monotonic() - started
# Not getrusage: its peak begins with that of the process that started this one.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": 1024 * int(peak.split()[1]), "s": took}))
"""


def main() -> None:
    options = arguments(__doc__ or "", quality=True)
    torch.set_num_threads(options.threads)
    bundle = base(options.base)
    figures: dict[str, Figure] = {}
    sets: dict[str, dict[str, float]] = {}
    for kind, path in REAL.items():
        images = folder(options.data, path, 3 if options.quick else None)
        levels = [_difference(bundle, image) for image in images]
        sets[kind] = {"images": len(images), "median": float(np.median(levels)), "largest": max(levels)}
        figures[f"seam_max_levels_{kind}"] = Figure(round(max(levels), 6), "of 255", None, MOST_LEVELS)
        print(f"{kind:8} {len(images)} pictures, largest difference {max(levels):.6f} of 255", flush=True)
    if not options.quick:
        megapixels, height, width = LARGE
        found = _difference(bundle, _mosaic(options, height, width))
        figures[f"seam_max_levels_{megapixels}mp"] = Figure(round(found, 6), "of 255", None, MOST_LEVELS)
    worst = max(figure.value for figure in figures.values())
    figures = {"seam_max_levels": Figure(worst, "of 255", None, MOST_LEVELS)} | figures
    figures |= _peak(options, *(LARGE if options.quick else LARGEST))
    publish("seams", figures, options, base={"name": bundle.name, "digest": bundle.digest}, sets=sets, tone=TONE)


def _difference(bundle: Bundle, image: ImageArray) -> float:
    """Largest difference between a picture's pixels whole and in the smallest pieces, in levels of 255."""
    plane = to_tensor([image])[0]
    height, width = image.shape[:2]
    least = plan(bundle.model, 2 * SMALLEST_TILE, 2 * SMALLEST_TILE).piece_bytes // 4
    whole = restore(bundle.model, plane, tone=TONE, budget_bytes=2**40)
    positions = height * width // bundle.model.deep_stride**2 + height + width
    deep = 4 * bundle.model.config.widths[bundle.model.shallow_levels] * 8 * positions
    pieces = restore(bundle.model, plane, tone=TONE, budget_bytes=least + deep)
    return 255 * float((whole - pieces).abs().max())


def _mosaic(options: argparse.Namespace, height: int, width: int) -> ImageArray:
    """Test photographs side by side at twice their size, at a third of their exposure, with a sensor's noise."""
    rng = np.random.default_rng(options.seed)
    parts = [image[:320, :480] for image in folder(options.data, "test/Kodak24/target")]
    doubled = [np.repeat(np.repeat(part, 2, 0), 2, 1) for part in parts]
    rows = [
        np.concatenate([doubled[(7 * row + k) % len(doubled)] for k in range(-(-width // 960))], 1)
        for row in range(-(-height // 640))
    ]
    picture = np.concatenate(rows)[:height, :width]
    for top in range(0, height, 512):  # in bands: noise of the whole would be 1.2 GB
        band = picture[top : top + 512] * np.float32(0.35)
        noise = rng.standard_normal(band.shape, dtype=np.float32)
        picture[top : top + 512] = np.clip(band + 3 * noise, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(picture)


def _peak(options: argparse.Namespace, megapixels: int, height: int, width: int) -> dict[str, Figure]:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "picture.npy"
        np.save(source, _mosaic(options, height, width))
        words = [sys.executable, "-c", PEAK, options.base, str(options.threads), str(source)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        f"restore_{megapixels}mp_peak_bytes": Figure(found["peak"], "bytes", None, MOST_BYTES),
        f"restore_{megapixels}mp_s": Figure(round(found["s"], 1), f"s, {options.threads} threads"),
    }


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s in all")
