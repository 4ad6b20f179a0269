"""Restore every image of a prefix into another prefix, under the same names.

    python -m udair_jobs.restore_batch source_uri=s3://acme/cams output_uri=s3://acme/restored

Run again, it restores what is new or changed and leaves the rest. Objects that are no images are listed
in the report, never fatal.

Exit status: 0 every image is restored, 2 the command is wrong; else whose fault it was: 3 the user's (also
a run that was asked to stop), 4 capacity, 5 the system (some objects failed: run it again), 6 a deadline,
7 numerics.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from udair_jobs.restore_batch.job import restore_batch
from udair_jobs.restore_batch.specs import BatchResult, BatchSpec
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.command_line import run_job
from udair_jobs.specs import Reason


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore what the command line describes and return the exit status."""
    return run_job("restore_batch", BatchSpec, arguments, _job)


def _job(spec: BatchSpec, cancellation: Cancellation) -> Reason | None:
    result = restore_batch(spec, cancellation=cancellation)
    _print(result)
    return result.reason


def _print(result: BatchResult) -> None:
    reasons = ", ".join(f"{count} {reason}" for reason, count in result.skipped_by_reason.items())
    print(f"restored   {result.restored}")
    print(f"unchanged  {result.unchanged}")
    print(f"skipped    {result.skipped}{f' ({reasons})' if reasons else ''}")
    print(f"failed     {result.failed}{f': {result.detail}' if result.failed else ''}")
    print(f"report     {result.report_uri}")
    rate = f", {result.restored / result.restoring_s:.1f} images/s" if result.restored else ""
    print(f"time       {result.seconds:.1f} s{rate}")


if __name__ == "__main__":
    sys.exit(main())
