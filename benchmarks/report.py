"""The one format of all benchmarks: a table for people, a JSON file for the record."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Figure:
    """One measured value, with the least that is acceptable and the aim (None: not judged).

    `spread` is half the range over repeats or half the 95 % bootstrap interval, in the same unit.
    """

    value: float
    unit: str
    floor: float | None = None
    aim: float | None = None
    spread: float | None = None

    @classmethod
    def median_of(cls, values: list[float], unit: str, floor: float | None = None, aim: float | None = None) -> Figure:
        """The median over repeats with its spread."""
        return cls(round(median(values), 3), unit, floor, aim, round((max(values) - min(values)) / 2, 3))

    @classmethod
    def mean_of(
        cls, values: Sequence[float], unit: str, floor: float | None = None, aim: float | None = None, seed: int = 0
    ) -> Figure:
        """The mean over images or domains, with half of its 95 % bootstrap interval."""
        sample = np.asarray(values, dtype=np.float64)
        draws = np.random.default_rng(seed).choice(sample, (2000, len(sample))).mean(1)
        low, high = np.quantile(draws, (0.025, 0.975))
        return cls(round(float(sample.mean()), 4), unit, floor, aim, round(float(high - low) / 2, 4))


DATA = Path(os.environ.get("UDAIR_DATA", "data"))


def arguments(
    description: str,
    *,
    quality: bool = False,
    only: bool = False,
    again: bool = False,
    postgres: bool = False,
    assumptions: Mapping[str, tuple[float, str]] | None = None,
) -> argparse.Namespace:
    """What every benchmark takes: --json FILE, --quick, --seed; with `quality` also --data, --base, --picture.

    A computation has `assumptions`, each (default, what it is), and --picture.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    if quality:
        parser.add_argument("--data", type=Path, default=DATA, help="folder of test images, or $UDAIR_DATA")
        parser.add_argument("--base", default="base", help="shipped base model, or a bundle's folder")
        parser.add_argument("--picture", type=Path, help="draw the figures there")
        parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    if again:
        parser.add_argument(
            "--again", type=Path, metavar="FILE", help="an earlier run's results: its evidence is judged"
        )
    if only:
        parser.add_argument("--only", nargs="+", metavar="NAME", help="these alone; their figures are not the whole's")
    if postgres:
        parser.add_argument("--postgres", metavar="URL", help="measure there too: postgresql://user@host/postgres")
    if assumptions is not None:
        parser.add_argument("--picture", type=Path, help="draw the figures there")
        for name, (default, said) in assumptions.items():
            parser.add_argument(
                f"--{name.replace('_', '-')}", type=float, default=default, help=f"{said} ({default:g})"
            )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def publish(benchmark: str, figures: dict[str, Figure], options: argparse.Namespace, **details: object) -> None:
    """Print the table and write the JSON file; `details` go into it as they are."""
    width = max(len(name) for name in figures)
    print(f"{'figure':<{width}}  {'value':>10}  {'spread':>8}  {'floor':>8}  {'aim':>8}  unit")
    for name, figure in figures.items():
        cells = [f"{figure.value:>10.3f}"]
        cells += [
            f"{value:>8.3g}" if value is not None else " " * 8 for value in (figure.spread, figure.floor, figure.aim)
        ]
        print(f"{name:<{width}}  " + "  ".join(cells) + f"  {figure.unit}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "benchmark": benchmark,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": _commit(),
            "machine": _machine(),
            "seed": options.seed,
            "quick": options.quick,
            **details,
            "figures": {name: asdict(figure) for name, figure in figures.items()},
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _commit() -> str:
    """The commit that is measured; other results that were written meanwhile do not make it another."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/benchmarks/results")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")


def _machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "gpu": None,
    }
