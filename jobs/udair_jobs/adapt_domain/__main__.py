"""The adaptation job: a prefix of unlabelled images in, a candidate adapter with its evidence out.

    python -m udair_jobs.adapt_domain spec=URI [spec_endpoint_url=URL]        as the platform runs it
    python -m udair_jobs.adapt_domain source_uri=photos output_uri=runs/mine  by hand

Exit status: 0 the attempt succeeded, 2 the command is wrong, 1 not even a result could be written;
else `result.json` says why, and the status whose fault it was: 3 the user's, 4 capacity, 5 the system,
6 a deadline, 7 numerics.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from udair_jobs.adapt_domain.job import run
from udair_jobs.adapt_domain.specs import spec_at, spec_from
from udair_jobs.errors import JobError, JobsError, StorageError
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.command_line import compose, named, to_plain
from udair_jobs.runtime.failures import exit_status
from udair_jobs.runtime.logs import quiet
from udair_jobs.specs import AdaptResult, AdaptSpec


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job that the command line describes and return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    cancellation = Cancellation()
    cancellation.install()
    quiet()
    given = named(arguments)
    try:
        if "spec" in given:
            # Read literally, not by Hydra: a path may hold characters that its grammar refuses.
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
            spec = spec_at(given["spec"], endpoint_url=given.get("spec_endpoint_url") or None)
        else:
            config = compose("adapt_domain", AdaptSpec, arguments)
            if config is None:
                return 0  # --help, --cfg: Hydra has answered
            spec = spec_from(to_plain(config))
    except JobError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        return exit_status(error.reason) if "spec" in given else 2
    except StorageError as error:
        print(f"cannot read the spec: {error}", file=sys.stderr)
        return 2
    try:
        result = run(spec, cancellation=cancellation)
    except JobsError as error:
        print(f"cannot write a result: {error}", file=sys.stderr)
        return 1
    _print(result)
    return cancellation.leave(exit_status(result.reason) if result.reason else 0)


def _print(result: AdaptResult) -> None:
    for sentence in result.words:
        print(sentence)
    if result.snapshot is not None:
        seen = result.snapshot
        print(f"snapshot   {seen.images} images: {seen.adapt_images} adapt, {seen.gate_images} gate", end="")
        print(f"; {seen.skipped} skipped" if seen.skipped else "")
    if result.manifest is not None:
        print(f"candidate  {result.candidate_uri}")
        print(f"adapter    {result.manifest.digest}")
    why = f"  {result.reason}: {result.detail}" if result.reason else ""
    print(f"{result.state.lower():10} {result.seconds:.1f} s{why}")


if __name__ == "__main__":
    sys.exit(main())
