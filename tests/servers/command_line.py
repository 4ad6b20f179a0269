"""The command line as a process, against a live server or none."""

from __future__ import annotations

import os
import subprocess
import sys

SOURCE = "s3://acme-photos/cams"


def start(live, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UDAIR_")}
    where = {"UDAIR_URL": live.url, "UDAIR_API_KEY": live.plane.admin_token} if live else {}
    return subprocess.Popen(
        [sys.executable, "-m", "udair_platform.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **where, "COLUMNS": "120", **environment},
    )


def udair(live, *arguments: str, code: int = 0, **environment: str) -> tuple[str, str]:
    """Run `udair` to its end; its stdout and stderr."""
    process = start(live, *arguments, **environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, f"exit {process.returncode}, expected {code}\n{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def words(out: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in out.splitlines()]
