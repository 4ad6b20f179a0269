"""Search hyperparameters on Ray Tune: of alignment, test-time adaptation, the recipe or source training.

    python -m udair_jobs.sweep sweep=tta source_uri=photos output_uri=runs/tta

Every trial ends with a score or with the reason why it has none. The same output_uri again continues.

Exit status: 0 searched, 2 the command is wrong; else whose fault it was: 3 the user's (also a sweep that
was asked to stop), 4 capacity, 5 the system, 6 a deadline, 7 numerics.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.command_line import run_job
from udair_jobs.sweep.job import sweep
from udair_jobs.sweep.report import (
    PLACES,
    to_line,
)
from udair_jobs.sweep.specs import SweepResult, SweepSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep that the command line describes and return the exit status."""
    return run_job("sweep", SweepSpec, arguments, _job)


def _job(spec: SweepSpec, cancellation: Cancellation) -> None:
    _print(spec, sweep(spec, cancellation=cancellation))


def _print(spec: SweepSpec, result: SweepResult) -> None:
    states = ", ".join(f"{count} {state.lower()}" for state, count in sorted(result.by_state.items()))
    print(f"trials      {result.trials}: {states} in {result.seconds:.0f} s; score: {result.objective}")
    for name, trial in (("default", result.default), ("best", result.best)):
        if trial is not None:
            checked = f", checked {trial.check_db:+.3f} dB" if trial.check_db is not None else ""
            print(f"{name:11} {trial.score_db:+.3f} dB{checked}: {to_line(trial.values)}")
    if result.importance:
        print("importance  " + ", ".join(f"{name} {share:.0%}" for name, share in result.importance.items()))
    best = result.best
    if spec.kind != "source" and best is not None and best.check_db is not None and best.check_db <= 0:
        print("note        none of these beats the source model alone: leave it off, or search elsewhere")
    if result.improved:
        job = PLACES[spec.kind][0]
        print(f"use it      python -m udair_jobs.{job} --config-dir {spec.output_uri} +tuned=best ...")
    else:
        print("verdict     the default is best: nothing beat it on pairs that the search did not see")


if __name__ == "__main__":
    sys.exit(main())
