"""Source training on Ray Train beside the plain loop, two workers beside one, and what a killed worker costs.

python benchmarks/training.py --json benchmarks/results/training.json

One thread a worker. Samples per second are taken between the first and the last checkpoint, so that
starting up is not counted and checkpointing is. The plain loop saves as often, to the same disk.
Two workers share the batch that one worker takes alone. `resume_repeated_s` is the time from the
checkpoint that the next attempt continues from to the kill: work that is done twice.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image
from report import Figure, arguments, publish

from udair.data.scenes import dead_leaves

BATCH, PATCH, EVERY = 16, 96, 20  # the defaults of TrainConfig
SETTINGS = ["size=tiny", "validation_batches=0", "replay_scenes=4", "replay_side=96", "statistics_batches=4"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}

PLAIN = """
import json, sys, time
from pathlib import Path
from udair.config import ModelConfig, TrainConfig
from udair.data.patches import PatchSource, read_folder
from udair.training import SourceTrainer
import torch
torch.set_num_threads(1)
data, out, steps, batch, patch, every = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
config = TrainConfig(steps=steps, batch=batch, patch=patch, finish_share=0.0)
trainer = SourceTrainer(ModelConfig.named("tiny"), config, PatchSource(read_folder(Path(data))))
times = {}
while trainer.steps < steps:
    trainer.step()
    if trainer.steps % every == 0:
        trainer.save(out)
        times[trainer.steps] = time.time()
print(json.dumps([[step, at] for step, at in times.items()]))
"""


def main() -> None:
    options = arguments(__doc__ or "")
    steps, repeats = (60, 1) if options.quick else (120, 3)
    rates: dict[str, list[float]] = {"plain": [], "one_worker": [], "two_workers": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = folder / "photos"
        data.mkdir()
        for number, scene in enumerate(dead_leaves(12, 256, seed=options.seed)):
            Image.fromarray(scene).save(data / f"{number:02}.png")
        for repeat in range(repeats):
            print(f"repeat {repeat + 1} of {repeats}", file=sys.stderr, flush=True)
            rates["plain"].append(_rate(_plain(data, folder / f"plain{repeat}", steps)))
            for name, workers in (("one_worker", 1), ("two_workers", 2)):
                out = folder / f"{name}{repeat}"
                _run(data, out, steps, workers).wait()
                rates[name].append(_rate(_rows(out)))
        repeated_s, interval_s = _killed(data, folder / "killed", 4 * steps)
    figures = {f"train_{name}_samples_per_s": Figure.median_of(found, "1/s") for name, found in rates.items()}
    pairs = {
        "train_ray_over_plain": ("one_worker", "plain", 0.95, 0.99),
        "train_two_workers_speedup": ("two_workers", "one_worker", 1.6, 1.9),
    }
    for name, (above, below, floor, aim) in pairs.items():
        ratios = [a / b for a, b in zip(rates[above], rates[below], strict=True)]
        spread = round((max(ratios) - min(ratios)) / 2, 3)
        figures[name] = Figure(round(median(ratios), 3), "times", floor, aim, spread)
    figures["resume_repeated_s"] = Figure(round(repeated_s, 2), "s", aim=30.0)
    figures["checkpoint_interval_s"] = Figure(round(interval_s, 2), "s")
    publish("training", figures, options, steps=steps, batch=BATCH, patch=PATCH, checkpoint_every=EVERY)


def _plain(data: Path, out: Path, steps: int) -> list[tuple[float, float]]:
    command = [sys.executable, "-c", PLAIN, str(data), str(out), *map(str, (steps, BATCH, PATCH, EVERY))]
    done = subprocess.run(command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True)
    return [(float(step), float(at)) for step, at in json.loads(done.stdout)]


def _run(data: Path, out: Path, steps: int, workers: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "udair_jobs.train_source",
        f"data_uri={data}",
        f"output_uri={out}",
        *SETTINGS,
        f"workers={workers}",
        f"train.batch={BATCH // workers}",
        f"train.patch={PATCH}",
        "train.finish_share=0",
        f"train.steps={steps}",
        f"checkpoint_every={EVERY}",
    ]
    return subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _killed(data: Path, out: Path, steps: int) -> tuple[float, float]:
    """Seconds of work that a worker's death costs, when it dies late between two checkpoints."""
    run = _run(data, out, steps, 2)
    while len(rows := _rows(out)) < 3:
        if run.poll() is not None:
            raise SystemExit(f"the run ended with {run.returncode} before it could be disturbed")
        time.sleep(0.05)
    interval_s = rows[-1][1] - rows[-2][1]
    time.sleep(max(0.0, rows[-1][1] + 0.8 * interval_s - time.time()))
    worker = subprocess.run(["pgrep", "-f", "^ray::RayTrainWorker"], capture_output=True, text=True, check=True)
    killed_at = time.time()
    os.kill(int(worker.stdout.split()[-1]), signal.SIGKILL)
    if run.wait() != 0:
        raise SystemExit(f"the run ended with {run.returncode} after a worker was killed")
    # The checkpoint that the next attempt continued from: the last one that was not taken again.
    kept = [at for _, at in _rows(out) if at < killed_at]
    return killed_at - max(kept), interval_s


def _rows(out: Path) -> list[tuple[float, float]]:
    """(step, time) of every checkpoint so far."""
    path = out / "metrics.jsonl"
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["steps"], row["time"]) for row in rows]


def _rate(rows: list[tuple[float, float]]) -> float:
    (first, began), (last, ended) = rows[0], rows[-1]
    return BATCH * (last - first) / (ended - began)


if __name__ == "__main__":
    main()
