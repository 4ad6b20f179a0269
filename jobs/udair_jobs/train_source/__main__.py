"""Train a base model on Ray Train and publish it, manifest last.

    python -m udair_jobs.train_source data_uri=photos output_uri=runs/source train.minutes=10

Exit status: 0 published, 2 the command is wrong; else whose fault it was: 3 the user's (also a run that
was asked to stop; the same command continues it), 4 capacity, 5 the system, 6 a deadline, 7 numerics.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.command_line import run_job
from udair_jobs.train_source.job import train_source
from udair_jobs.train_source.specs import TrainSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training that the command line describes and return the exit status."""
    return run_job("train_source", TrainSpec, arguments, _job)


def _job(spec: TrainSpec, cancellation: Cancellation) -> None:
    result = train_source(spec, cancellation=cancellation)
    print(f"base model  {result.base_uri}")
    print(f"name        {result.name}, {result.steps} steps, {result.images} images")
    print(f"digest      {result.digest}")


if __name__ == "__main__":
    sys.exit(main())
