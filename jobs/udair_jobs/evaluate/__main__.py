"""Compare restorations of any pictures: what came, the base model, a classical method, an adapter, what would be served.

    python -m udair_jobs.evaluate +sets.mine.source_uri=photos output_uri=runs/look
    python -m udair_jobs.evaluate +sets.mine.source_uri=photos output_uri=runs/look adapt=true
    python -m udair_jobs.evaluate +sets.rain.source_uri=s3://sets/rain/input \
        +sets.rain.clean_uri=s3://sets/rain/target output_uri=runs/score adapter_uri=runs/mine/candidate

Restoration is blind: the model sees the degraded picture alone. PSNR and SSIM over RGB, no border cut.

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
    for name, score in result.sets.items():
        skipped = f", {score.skipped} skipped" if score.skipped else ""
        print(
            f"{name}: {score.images} pictures{skipped}; the {score.base} column is the base model with the intent asked for"
        )
        for word in score.words:
            print(f"  {word}")
        print(
            f"  {'':10}{'PSNR':>8}{'SSIM':>8}{'gain':>8}{'95% low':>9}{'harmed':>8}{'vs input':>10}{'noise':>8}{'tone':>7}"
        )
        for column, row in score.columns.items():
            cells = (
                _cell(row.psnr_db, "8.2f"),
                _cell(row.ssim, "8.4f"),
                _cell(row.gain_db, "+8.2f"),
                _cell(row.gain_low_db, "+9.2f"),
                _cell(row.harmed_vs_base_share, "8.0%"),
                _cell(row.harmed_vs_input_share, "10.0%"),
                _cell(row.noise_left, "8.2f"),
                _cell(row.tone_moved, "7.1f"),
            )
            print(f"  {column:10}" + "".join(cells))
        print(f"  served: {score.served_as}" + (f" ({score.why})" if score.why else ""))
        if score.sheet_uri:
            print(f"  sheet   {score.sheet_uri}")
    print("PSNR, gain (over the base model) in dB; noise left in flat places and tone moved, of 255 levels")
    print(f"scores  {result.scores_uri}")


def _cell(value: float | None, form: str) -> str:
    width = int(form.lstrip("+").split(".")[0])
    return f"{'-':>{width}}" if value is None else format(value, form)


if __name__ == "__main__":
    sys.exit(main())
