"""Score a base model, and an adapter on it, on labelled sets.

    python -m udair_jobs.evaluate +sets.rain.source_uri=s3://sets/rain/input \
        +sets.rain.clean_uri=s3://sets/rain/target output_uri=runs/score adapter_uri=runs/mine/candidate

Restoration is blind: the model sees the degraded image alone. PSNR and SSIM over RGB, no border cut.

Exit status: 0 scored, 2 the command is wrong; else whose fault it was: 3 the user's (also an evaluation
that was asked to stop), 4 capacity, 5 the system, 6 a deadline, 7 numerics.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from udair_jobs.evaluate.job import evaluate
from udair_jobs.evaluate.specs import EvaluateResult, EvaluateSpec
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.command_line import run_job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation that the command line describes and return the exit status."""
    return run_job("evaluate", EvaluateSpec, arguments, _job)


def _job(spec: EvaluateSpec, cancellation: Cancellation) -> None:
    _print(evaluate(spec, cancellation=cancellation))


def _print(result: EvaluateResult) -> None:
    print(f"{'set':20} {'images':>6} {'input':>8} {'source':>8} {'adapted':>8} {'gain':>14} {'harmed':>7}   PSNR, dB")
    for name, score in result.sets.items():
        line = f"{name:20} {score.images:6} {score.input_psnr_db:8.2f} {score.source_psnr_db:8.2f}"
        if score.adapted_psnr_db is not None:
            low = f" (>{score.gain_low_db:+.2f})" if score.gain_low_db is not None else ""
            line += f" {score.adapted_psnr_db:8.2f} {f'{score.gain_db:+.2f}{low}':>14} {score.harmed_share or 0:7.0%}"
        print(line + (f"   {score.skipped} skipped" if score.skipped else ""))
    print(f"scores  {result.scores_uri}")


if __name__ == "__main__":
    sys.exit(main())
