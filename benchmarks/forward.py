"""What one device restores: images a second by size and batch, in the serving engine and without it.

Runs where only torch, numpy, pillow and safetensors are installed:
`PYTHONPATH=.:platform python benchmarks/forward.py --json benchmarks/results/forward.json`.
Axes: B images, C channels, H x W pixels.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import models
import numpy as np
import report
import torch
from report import Figure

from udair.bundle import Bundle
from udair.captured import CapturedStep
from udair.data.door import DecodeDoor
from udair.data.encoding import ImageMetadata, encode
from udair.data.scenes import dead_leaves
from udair.models.modulation import Modulation, stack
from udair.models.served import as_served
from udair.tiling import BUDGET_BYTES, ENDPOINT_PIECE_BYTES
from udair_platform.serving.model.engine import Engine

SIDES = {"256": (256, 256), "512": (512, 512), "1080p": (1080, 1920)}
# Pixels that a step of the engine takes: pictures of 288 x 288.
PIXELS = {"cpu": 288**2, "cuda": 64 * 288**2}
DOMAINS = 64
MEGAPIXEL = 1024
UNDER_WAY = 48  # files between their first byte in and their last byte out


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
    bundle.model.to(options.device)
    bundle = replace(bundle, model=as_served(bundle.model))
    rows = domains(bundle, options)
    figures: dict[str, Figure] = {}
    curve = batches(bundle, options)
    best = max(point["images_per_s"] for point in curve)
    figures["forward_images_per_s_256"] = Figure(round(best, 2), "images/s")
    replayed = as_graph(bundle, options)
    figures["graph_images_per_s_256"] = Figure(round(replayed, 2), "images/s")
    figures.update(mixed(bundle, rows, options))
    for name, shape in SIDES.items():
        rate = through_engine(bundle, rows, shape, options)
        figures[f"engine_images_per_s_{name}"] = Figure(round(rate, 3), "images/s")
    ratio = figures["engine_images_per_s_256"].value / replayed
    figures["engine_over_graph_forward"] = Figure(round(ratio, 3), "ratio", 0.8, 0.92)
    tensors = as_graph(bundle, options, MEGAPIXEL, 1 if options.device == "cpu" else 8)
    files = from_files(bundle, rows, options)
    figures["graph_images_per_s_1mp"] = Figure(round(tensors, 3), "images/s")
    figures["jpeg_images_per_s_1mp"] = Figure(round(files, 3), "images/s")
    figures["jpeg_over_graph_forward_1mp"] = Figure(round(files / tensors, 3), "ratio", 0.8, 0.92)
    most = 4.0 if options.device == "cuda" else None
    figures["single_image_p50"] = Figure(round(one_by_one(bundle, rows, options), 2), "ms", None, most)
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
    return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if options.device == "cuda" else nullcontext()


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


def as_graph(bundle: Bundle, options: argparse.Namespace, side: int = 256, batch: int = 0) -> float:
    """Square images a second in large batches, each with an adapter, replayed from a CUDA graph where there is one."""
    batch = batch or (1 if options.device == "cpu" else 64)
    x = torch.rand(batch, 3, side, side, device=options.device)
    row, answer = stack(domains(bundle, options)[:batch]).without_curve(), torch.empty_like(x)

    def step(inputs: Sequence[torch.Tensor]) -> None:
        answer.copy_(bundle.model(inputs[0], row))

    with torch.inference_mode(), precision(options):
        captured = CapturedStep(step, [x], capture=options.device == "cuda")
        return rate(partial(captured, [x]), batch, options)


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


def make_engine(bundle: Bundle, options: argparse.Namespace) -> Engine:
    """The engine as a replica on this device has it."""
    cuda = options.device == "cuda"
    piece_bytes = BUDGET_BYTES if cuda else ENDPOINT_PIECE_BYTES
    return Engine(
        bundle.model, PIXELS[options.device], piece_bytes=piece_bytes, autocast=cuda, at_once=cuda, max_waiting=10_000
    )


def one_by_one(bundle: Bundle, rows: list[Modulation], options: argparse.Namespace) -> float:
    """Median milliseconds of one image of 256 x 256 at a time through the engine."""
    engine = make_engine(bundle, options)
    image = np.random.default_rng(options.seed).integers(0, 256, (256, 256, 3), dtype=np.uint8)

    async def ask(count: int) -> list[float]:
        seconds = []
        for number in range(count):
            started = time.perf_counter()
            await engine.submit(image, rows[number % DOMAINS], name=str(number % DOMAINS), timeout_s=600)
            seconds.append(time.perf_counter() - started)
        return seconds

    try:
        return 1e3 * median(asyncio.run(ask(50 if options.device == "cuda" else 8))[5:])
    finally:
        engine.close()


def settled(burst: Callable[[int], Coroutine[None, None, float]], count: int) -> float:
    """What so many images make a second, after a quarter of them to warm up: the median of three."""
    asyncio.run(burst(max(2, count // 4)))
    return median(asyncio.run(burst(count)) for _ in range(3))


def through_engine(
    bundle: Bundle, rows: list[Modulation], shape: tuple[int, int], options: argparse.Namespace
) -> float:
    """Images a second through the serving engine, every image of another domain than the one before."""
    cuda, engine = options.device == "cuda", make_engine(bundle, options)
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
        return settled(burst, count)
    finally:
        engine.close()


def from_files(bundle: Bundle, rows: list[Modulation], options: argparse.Namespace) -> float:
    """Photographs of a megapixel a second from JPEG to JPEG: decoded, restored and encoded side by side, as an endpoint does."""
    engine, cores = make_engine(bundle, options), len(os.sched_getaffinity(0))
    door, encoders = DecodeDoor(max(2, cores // 2)), ThreadPoolExecutor(max(1, cores // 2))
    scenes = dead_leaves(4, MEGAPIXEL, seed=options.seed)
    encoded = [encode(scene, ImageMetadata("JPEG"), format="jpeg", quality=90) for scene in scenes]
    count = max(2, round((400 if options.device == "cuda" else 4) * (0.25 if options.quick else 1.0)))

    async def burst(images: int) -> float:
        places = asyncio.Semaphore(UNDER_WAY)

        async def one(number: int) -> None:
            name = str(number % DOMAINS)
            async with places:
                came = await asyncio.wrap_future(door.submit(encoded[number % len(encoded)], tenant=name))
                done = await engine.submit(came.image, rows[number % DOMAINS], name=name, timeout_s=600)
                task = encoders.submit(encode, done.image, came.metadata, format="jpeg", quality=90)
                await asyncio.wrap_future(task)

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(images)))
        return images / (time.perf_counter() - started)

    try:
        return settled(burst, count)
    finally:
        engine.close()
        door.close()
        encoders.shutdown()


if __name__ == "__main__":
    main()
