"""What one device restores: images a second by size and batch, in the serving engine and without it.

Runs where only torch, numpy, pillow and safetensors are installed:
`PYTHONPATH=.:platform python benchmarks/forward.py --json benchmarks/results/forward.json`.
Axes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median

import models
import numpy as np
import report
import torch
from report import Figure
from udair_platform.serving.engine import Engine

from udair.bundle import Bundle
from udair.models.modulation import Modulation, stack

SIDES = {"256": (256, 256), "512": (512, 512), "1080p": (1080, 1920)}
# Pixels that a step of the engine takes: pictures of 288 x 288.
PIXELS = {"cpu": 288**2, "cuda": 64 * 288**2}
DOMAINS = 64


def main() -> None:
    """Measure, print, draw, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="base")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; figures are per core")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    bundle = models.base(options.base)
    bundle.model.to(options.device, memory_format=torch.channels_last)
    rows = domains(bundle, options)
    figures: dict[str, Figure] = {}
    curve = batches(bundle, options)
    best = max(point["images_per_s"] for point in curve)
    figures["forward_images_per_s_256"] = Figure(round(best, 2), "images/s")
    figures.update(mixed(bundle, rows, options))
    for name, shape in SIDES.items():
        rate = through_engine(bundle, rows, shape, options)
        figures[f"engine_images_per_s_{name}"] = Figure(round(rate, 3), "images/s")
    figures["engine_over_forward"] = Figure(round(figures["engine_images_per_s_256"].value / best, 3), "ratio")
    if options.device == "cuda":
        figures["peak_memory"] = Figure(round(torch.cuda.max_memory_allocated() / 2**20), "MiB")
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    report.publish("forward", figures, options, device=name, threads=options.threads, batches=curve)


def domains(bundle: Bundle, options: argparse.Namespace) -> list[Modulation]:
    """Rows of adapters that apply everywhere and change every kind of parameter."""
    generator = torch.Generator().manual_seed(options.seed)
    found = []
    for _ in range(DOMAINS):
        identity = bundle.model.identity()
        film = 0.02 * torch.randn(identity.film_BF.shape, generator=generator).to(options.device)
        found.append(Modulation(**{**vars(identity), "film_BF": film}))
    return found


def precision(options: argparse.Namespace) -> torch.autocast | nullcontext[None]:
    """As the replicas run: bfloat16 on GPUs."""
    return torch.autocast("cuda", torch.bfloat16) if options.device == "cuda" else nullcontext()


def rate(call: Callable[[], object], images: int, options: argparse.Namespace) -> float:
    """Images a second: the median of calls that last for about two seconds."""
    seconds: list[float] = []
    begun = time.perf_counter()
    while len(seconds) < 4 or time.perf_counter() - begun < (0.5 if options.quick else 2.0):
        started = time.perf_counter()
        call()
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return images / median(seconds[2:])


def batches(bundle: Bundle, options: argparse.Namespace) -> list[dict[str, float]]:
    """Images of 256 x 256 a second by batch size, the model alone."""
    curve = []
    for batch in (1, 2, 4, 8) if options.device == "cpu" else (1, 4, 16, 64, 128):
        x = torch.rand(batch, 3, 256, 256, device=options.device)
        with torch.inference_mode(), precision(options):
            curve.append({"batch": batch, "images_per_s": round(rate(partial(bundle.model, x), batch, options), 2)})
    return curve


def mixed(bundle: Bundle, rows: list[Modulation], options: argparse.Namespace) -> dict[str, Figure]:
    """A batch of as many adapters as images beside one adapter, and beside none."""
    batch = 4 if options.device == "cpu" else 64
    x = torch.rand(batch, 3, 256, 256, device=options.device)
    several, one = stack(rows[:batch]), stack(rows[:1] * batch)
    rates: dict[str, list[float]] = {"none": [], "one": [], "mixed": []}
    with torch.inference_mode(), precision(options):
        for _ in range(3):
            for name, row in (("none", None), ("one", one), ("mixed", several)):
                rates[name].append(rate(partial(bundle.model, x, row), batch, options))
    pairs = list(zip(rates["mixed"], rates["one"], strict=True))
    return {
        "mixed_over_single": Figure.median_of([m / o for m, o in pairs], "ratio", 0.9, 0.97),
        "adapter_over_none": Figure.median_of(
            [o / n for o, n in zip(rates["one"], rates["none"], strict=True)], "ratio"
        ),
    }


def through_engine(
    bundle: Bundle, rows: list[Modulation], shape: tuple[int, int], options: argparse.Namespace
) -> float:
    """Images a second through the serving engine, every image of another domain than the one before."""
    cuda = options.device == "cuda"
    engine = Engine(bundle.model, PIXELS[options.device], autocast=cuda, embed_together=cuda, max_waiting=10_000)
    image = np.random.default_rng(options.seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    share = shape[0] * shape[1] / 256**2
    count = max(2, round((1500 if cuda else 12) * (0.25 if options.quick else 1.0) / share))

    async def burst(images: int) -> float:
        started = time.perf_counter()
        await asyncio.gather(
            *(engine.submit(image, rows[i % DOMAINS], name=str(i % DOMAINS), timeout_s=600) for i in range(images))
        )
        return images / (time.perf_counter() - started)

    try:
        asyncio.run(burst(max(2, count // 4)))
        return median(asyncio.run(burst(count)) for _ in range(3))
    finally:
        engine.close()


if __name__ == "__main__":
    main()
