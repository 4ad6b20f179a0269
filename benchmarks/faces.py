"""How long people wait for the command line and the SDK before anything is asked of a platform.

python benchmarks/faces.py --json benchmarks/results/faces.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from report import Figure, arguments, publish

_IMPORT = "import time; t = time.perf_counter(); {}\nprint(time.perf_counter() - t)"
_UDAIR = str(Path(sys.executable).with_name("udair"))


def main() -> None:
    options = arguments(__doc__ or "")
    repeats = 5 if options.quick else 25
    figures = {
        "cli_help_ms": Figure.median_of(_process_ms([_UDAIR, "--help"], repeats), "ms", floor=300.0, aim=150.0),
        "cli_job_help_ms": Figure.median_of(_process_ms([_UDAIR, "job", "list", "--help"], repeats), "ms"),
        "cli_completion_ms": Figure.median_of(_process_ms([_UDAIR], repeats, _COMPLETE), "ms"),
        "sdk_import_ms": Figure.median_of(
            _import_ms("from udair_platform.client import Client", repeats), "ms", floor=300.0, aim=120.0
        ),
        "sdk_first_client_ms": Figure.median_of(
            _import_ms(
                "from udair_platform.client import Client; Client('http://127.0.0.1:9', 'ak_x').domains", repeats
            ),
            "ms",
        ),
        "python_start_ms": Figure.median_of(_process_ms([sys.executable, "-c", "pass"], repeats), "ms"),
        "boto3_import_ms": Figure.median_of(_import_ms("import boto3", repeats), "ms"),
    }
    publish("faces", figures, options)


_COMPLETE = {"_UDAIR_COMPLETE": "complete_bash", "COMP_WORDS": "udair job ", "COMP_CWORD": "2"}


def _process_ms(command: list[str], repeats: int, environment: dict[str, str] | None = None) -> list[float]:
    """From the start of a process to its end; the first run, which fills the caches, is left out."""
    spent = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
        )
        spent.append(1000 * (time.perf_counter() - begun))
    return spent[1:]


def _import_ms(statement: str, repeats: int) -> list[float]:
    """What `statement` takes in a fresh interpreter that is running."""
    program = _IMPORT.format(statement)
    command = [sys.executable, "-c", program]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(repeats + 1)]
    return [1000 * float(line) for line in said[1:]]


if __name__ == "__main__":
    main()
