"""A bursty day against the autoscaling policy: replica-hours spent, and how long images wait.

python benchmarks/autoscale.py --json benchmarks/results/autoscale.json --picture benchmarks/results/autoscale.png

A simulation, second by second: cameras that sleep at night, a batch of large photographs now and then, and bursts.
Replicas restore so many pixels a second and take a while to start, as measured. `pixels` is our policy;
`requests` is Ray Serve's default (two requests a replica, 30 s before growing, 600 s before shrinking) on the
same day; `fixed` always has the replicas of the busiest minute, and `one` a single replica.
"""

from __future__ import annotations

import argparse
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from report import Figure, publish

from udair_platform.serving.routing.autoscaling import Scaling, decide

DAY_S = 24 * 3600
PIXELS_PER_S = 6.0 * 256 * 256  # of one replica: `base`, one core
START_S = 12  # from the decision until a replica answers
MAX_REPLICAS = 16
SIZES = ((256 * 256, 0.6), (512 * 512, 0.3), (1920 * 1080, 0.1))


@dataclass
class Day:
    """What a policy made of the day.

    Attributes:
        waits_s: Of each image, from its arrival to its end.
        replica_hours: Started or running.
        replicas: At every second.
    """

    waits_s: list[float] = field(default_factory=list)
    replica_hours: float = 0.0
    replicas: list[int] = field(default_factory=list)


def arrivals(seed: int) -> list[list[int]]:
    """Pixels of the images that arrive in every second of the day."""
    rng = np.random.default_rng(seed)
    hours = np.arange(DAY_S) / 3600
    rate = 0.15 + 4.0 * np.clip(np.sin((hours - 6) / 14 * math.pi), 0, None) ** 2  # images a second
    for _ in range(14):  # bursts: ten times as much for a minute or three
        start = int(rng.uniform(6, 22) * 3600)
        rate[start : start + int(rng.uniform(60, 180))] *= 6
    sizes, shares = zip(*SIZES, strict=True)
    counts = rng.poisson(rate * 0.35)
    for _ in range(6):  # somebody sends a folder
        counts[int(rng.uniform(0, DAY_S))] += 60
    return [rng.choice(sizes, count, p=shares).tolist() for count in counts]


def simulate(day: list[list[int]], policy: Callable[[int, int, int, float], int]) -> Day:
    """Replay a day; `policy` is (second, replicas, requests, pixels waiting) to replicas."""
    made, waiting = Day(), deque[list[float]]()
    starting: deque[int] = deque()
    running, pixels = 1, 0.0
    for second, images in enumerate(day):
        while starting and starting[0] <= second:
            starting.popleft()
            running += 1
        for size in images:
            waiting.append([float(second), float(size)])
            pixels += size
        room = running * PIXELS_PER_S
        while waiting and room > 0:
            done = min(room, waiting[0][1])
            room -= done
            pixels -= done
            waiting[0][1] -= done
            if waiting[0][1] <= 0:
                arrived, _ = waiting.popleft()
                # A request is worked on by one replica, however many there are.
                made.waits_s.append(second + 1 - room / (running * PIXELS_PER_S) - arrived)
        have = running + len(starting)
        want = min(max(policy(second, have, len(waiting), pixels), 1), MAX_REPLICAS)
        while want < running + len(starting) and starting:
            starting.pop()
        running = min(running, max(want, 1)) if want < running else running
        starting.extend(second + START_S for _ in range(want - running - len(starting)))
        made.replica_hours += (running + len(starting)) / 3600
        made.replicas.append(running)
    return made


def by_pixels() -> Callable[[int, int, int, float], int]:
    """Our policy, as Serve calls it: ten times a second there, once here."""
    scaling, state = Scaling(1, MAX_REPLICAS), {}

    def policy(second: int, have: int, requests: int, pixels: float) -> int:
        nonlocal state
        target, state = decide(float(second), have, pixels, scaling, state)
        return target

    return policy


def by_requests(target: float = 2.0, up_s: int = 30, down_s: int = 600, look_back_s: int = 30) -> Any:
    """Ray Serve's default: the mean of ongoing requests over a while, with delays before it acts."""
    seen: deque[int] = deque(maxlen=look_back_s)
    above = below = 0

    def policy(second: int, have: int, requests: int, pixels: float) -> int:
        nonlocal above, below
        seen.append(requests)
        want = min(max(math.ceil(sum(seen) / len(seen) / target), 1), MAX_REPLICAS)
        above, below = (above + 1 if want > have else 0), (below + 1 if want < have else 0)
        if above > up_s or below > down_s:
            above = below = 0
            return want
        return have

    return policy


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--quick", action="store_true", help="one day instead of five")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    figures: dict[str, Figure] = {}
    found: dict[str, list[Day]] = {}
    for seed in range(options.seed, options.seed + (1 if options.quick else 5)):
        day = arrivals(seed)
        work = np.array([sum(images) for images in day]).reshape(-1, 60).sum(1) / 60
        busiest = min(math.ceil(work.max() / PIXELS_PER_S), MAX_REPLICAS)
        policies: dict[str, Callable[[int, int, int, float], int]] = {
            "pixels": by_pixels(),
            "requests": by_requests(),
            "fixed": lambda *_, n=busiest: n,  # type: ignore[misc]
            "one": lambda *_: 1,
        }
        for name, policy in policies.items():
            found.setdefault(name, []).append(simulate(day, policy))
    for name, days in found.items():
        figures[f"{name}_replica_hours"] = Figure.median_of([day.replica_hours for day in days], "h a day")
        for share in (0.5, 0.99):
            waits = [float(np.quantile(day.waits_s, share)) for day in days]
            figures[f"{name}_p{round(100 * share)}_s"] = Figure.median_of(waits, "s")
        late = [sum(wait > 10 for wait in day.waits_s) / len(day.waits_s) for day in days]
        figures[f"{name}_over_10_s"] = Figure.median_of(late, "share")
    publish(
        "autoscale", figures, options, pixels_per_s=PIXELS_PER_S, start_s=START_S, images=len(found["one"][0].waits_s)
    )
    if options.picture:
        _draw(found, options.picture)


def _draw(found: dict[str, list[Day]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
    hours = np.arange(DAY_S) / 3600
    for name in ("pixels", "requests", "fixed"):
        axes.step(hours, found[name][0].replicas, label=name, lw=1)
    axes.set(xlabel="hour of the day", ylabel="running replicas", xlim=(0, 24))
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
