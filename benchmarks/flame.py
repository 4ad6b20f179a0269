"""Where the engine's time goes: flame graphs of sampled stacks, in milliseconds a picture, one under the other.

    pip install py-spy
    py-spy record -r 100 -f raw -o after.txt -- python benchmarks/flame.py --run
    python benchmarks/flame.py --picture docs/images/engine-flame.png before=before.txt after=after.txt

`--run` restores pictures of 256 x 256, each of another domain than the one before, on one core. To compare with an
earlier commit, run this file with that commit's folders in PYTHONPATH.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

PICTURES, BURSTS = 16, 4
_ENTRY = re.compile(r"_run \(.*engine\.py")  # of the engine's thread: what is below it is not drawn
_LEAST = 0.004  # of the whole: narrower frames are left out


@dataclass
class Frame:
    """A function where it was called, and what it called."""

    samples: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)


def run() -> None:
    """What is sampled."""
    import models
    import numpy as np
    import torch

    from udair.models.modulation import Modulation
    from udair.models.served import as_served
    from udair_platform.serving.model.engine import Engine

    torch.set_num_threads(1)
    bundle = models.base("base")
    bundle = replace(bundle, model=as_served(bundle.model))
    generator = torch.Generator().manual_seed(0)
    identity = bundle.model.identity()
    rows = [
        Modulation(**vars(identity) | {"film_BF": 0.02 * torch.randn(identity.film_BF.shape, generator=generator)})
        for _ in range(PICTURES)
    ]
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    engine = Engine(bundle.model, 288**2, max_waiting=10_000)

    async def burst() -> None:
        await asyncio.gather(*(engine.submit(image, row, name=str(n), timeout_s=600) for n, row in enumerate(rows)))

    for _ in range(BURSTS):
        asyncio.run(burst())
    engine.close()


def read(path: Path) -> Frame:
    """Collapsed stacks, from the engine's thread on; lines of one function are one frame."""
    root = Frame()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        entry = next((place for place, frame in enumerate(frames) if _ENTRY.search(frame)), None)
        if entry is None:
            continue
        names = [re.sub(r" \(.*", "", frame) for frame in frames[entry:]]
        at = root
        at.samples += int(count)
        for name in names[1:]:
            at = at.calls.setdefault(name, Frame())
            at.samples += int(count)
    return root


def draw(graphs: dict[str, Frame], path: Path, rate: float) -> None:
    """One flame graph for each of `graphs`, on one axis."""
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("YlOrRd")
    ms = 1000 / rate / (PICTURES * BURSTS)
    figure, axes = plt.subplots(len(graphs), 1, figsize=(11, 3.6 * len(graphs)), sharex=True, layout="constrained")
    for axis, (name, root) in zip(axes if len(graphs) > 1 else [axes], graphs.items(), strict=True):
        least, deepest = _LEAST * root.samples, 0
        waiting = [(root, 0.0, 0)]
        while waiting:
            frame, left, depth = waiting.pop()
            deepest = max(deepest, depth)
            for called, inner in sorted(frame.calls.items(), key=lambda item: -item[1].samples):
                width = inner.samples * ms
                if inner.samples >= least:
                    tint = colours(0.15 + 0.5 * (zlib.crc32(called.encode()) % 100) / 100)
                    axis.barh(depth, width, left=left, height=1.0, align="edge", color=tint, edgecolor="white", lw=0.4)
                    if width > 0.012 * root.samples * ms * len(called) / 2:
                        axis.text(
                            left + width / 2, depth + 0.5, called, ha="center", va="center", fontsize=6, clip_on=True
                        )
                    waiting.append((inner, left, depth + 1))
                left += width
        axis.set(ylabel=name, yticks=[], ylim=(0, deepest + 0.2), title=f"{name}: {root.samples * ms:.0f} ms a picture")
    axis.set_xlabel("ms a picture of 256 x 256, one core, each of another domain")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("stacks", nargs="*", metavar="NAME=FILE", help="collapsed stacks, as py-spy writes them")
    parser.add_argument("--run", action="store_true", help="be what is sampled")
    parser.add_argument("--picture", type=Path, help="draw them there")
    parser.add_argument("--rate", type=float, default=100.0, help="samples a second")
    options = parser.parse_args()
    if options.run:
        run()
        return
    graphs = {name: read(Path(path)) for name, _, path in (one.partition("=") for one in options.stacks)}
    for name, root in graphs.items():
        own: Counter[str] = Counter()
        waiting = [("", root)]
        while waiting:
            called, frame = waiting.pop()
            own[called] += frame.samples - sum(inner.samples for inner in frame.calls.values())
            waiting += frame.calls.items()
        told = ", ".join(f"{called} {100 * count / root.samples:.0f} %" for called, count in own.most_common(6))
        print(f"{name}: {root.samples} samples; {told}")
    if options.picture:
        draw(graphs, options.picture, options.rate)


if __name__ == "__main__":
    main()
