"""Train a base model on one device, without Ray: `python -m udair.training`.

A folder of photographs may bring a `MANIFEST.csv` that says on which terms each may be used; see it before weights
are published.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from udair.checkpoint import CLOCK
from udair.config import SIZES, ModelConfig, TrainConfig
from udair.data.pairs import read_pairs
from udair.data.patches import PatchSource, read_folder
from udair.training.trainer import SourceTrainer

SHOW_S, SAVE_S = 20, 120
READ_STEPS = 16  # between two readings of the figures, each of which waits for the device
PROFILED_STEPS = 8


def main() -> None:
    """Train on one device until the budget ends; print a line every 20 seconds."""
    arguments = _arguments()
    config = TrainConfig(**{name: getattr(arguments, name) for name in asdict(TrainConfig())})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    source = PatchSource([image for folder in arguments.data for image in read_folder(folder)], device)
    pairs = read_pairs(arguments.pairs, device) if arguments.pairs else None
    trainer = SourceTrainer(ModelConfig.named(arguments.size), config, source, device, pairs=pairs)
    if (arguments.out / CLOCK).is_file():
        trainer.load(arguments.out, continue_clock=not arguments.restart_schedule)
    elif arguments.start_from:
        trainer.start_from(arguments.start_from)
    print(f"{len(source)} images, {arguments.size} on {device}, from step {trainer.steps}", flush=True)
    if arguments.profile:
        _profile(trainer, device)
        return
    _train(trainer, arguments.out, arguments.averaged_only)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m udair.training", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="folders of clean photographs")
    parser.add_argument("--pairs", type=Path, help="folder of real pairs: <class>/input and <class>/target")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint; continued when it holds one")
    parser.add_argument("--start-from", type=Path, help="base model to start from, if --out holds no checkpoint")
    parser.add_argument("--size", default="tiny", help=" or ".join(SIZES))
    parser.add_argument("--restart-schedule", action="store_true", help="new schedule from the weights found")
    parser.add_argument("--averaged-only", action="store_true", help="checkpoints of half the size: EMA weights")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes, and train nothing")
    for name, value in asdict(TrainConfig()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def _train(trainer: SourceTrainer, out: Path, averaged_only: bool) -> None:
    shown = saved = time.monotonic()
    begun, rollbacks = (trainer.steps, trainer.spent_s), trainer.guard.rollbacks
    mean: dict[str, float] = {}
    while trainer.progress < 1.0:
        rate = trainer.advance()
        if trainer.steps % READ_STEPS == 0 or trainer.device.type == "cpu":
            for name, value in trainer.figures().items():
                mean[name] = value if name not in mean else 0.95 * mean[name] + 0.05 * value
        if trainer.guard.rollbacks > rollbacks:
            rollbacks = trainer.guard.rollbacks
            print(
                f"step {trainer.steps}: went back to healthy weights, rate x {trainer.guard.rate_scale:.2f}", flush=True
            )
        if time.monotonic() - shown > SHOW_S:
            shown = time.monotonic()
            speed = (trainer.steps - begun[0]) * trainer.config.batch / max(trainer.spent_s - begun[1], 1e-9)
            print(
                f"step {trainer.steps} {trainer.progress:6.1%} {speed:.1f} patches/s rate {rate:.2e} "
                + " ".join(f"{k} {v:.4g}" for k, v in mean.items()),
                flush=True,
            )
        if time.monotonic() - saved > SAVE_S:
            saved = time.monotonic()
            trainer.save(out, averaged_only=averaged_only)
    trainer.save(out, averaged_only=averaged_only)
    print(f"done at step {trainer.steps} after {trainer.spent_s:.0f} s, {rollbacks} rollbacks", flush=True)


def _profile(trainer: SourceTrainer, device: str) -> None:
    """Time of the steps by kernel (on a GPU) or operator (on a CPU), once they are warm."""
    for _ in range(PROFILED_STEPS):
        trainer.advance()
    trainer.figures()
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    started = time.perf_counter()
    with profile(activities=[activity]) as measured:
        for _ in range(PROFILED_STEPS):
            trainer.advance()
        trainer.figures()
    each_s = (time.perf_counter() - started) / PROFILED_STEPS
    order = "self_cuda_time_total" if device == "cuda" else "self_cpu_time_total"
    print(measured.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=60))
    print(f"{1000 * each_s:.1f} ms a step of {trainer.config.batch} patches, profiled", flush=True)


if __name__ == "__main__":
    main()
