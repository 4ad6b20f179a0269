"""Writes the client for threads from the client for event loops. Run by `make client`; a test compares.

One source and two clients, without a layer between them that types and tracebacks would have to cross.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent / "udair_platform" / "client"
_TITLE = '"""The client for threads. Written from `asynchronous` by `make client`: change it there."""\n'
_RULES = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baread\b", "read"),
    (r"\baiter_sse\b", "iter_sse"),
    (r"\basync_(pause|concurrently)\b", r"\1"),
    (r"\bclient\.asynchronous\b", "client.synchronous"),
    (r"\bAsync([A-Z]\w*)", r"\1"),
]


def written() -> dict[str, str]:
    """The files of `synchronous`, by name."""
    made = {"__init__.py": _TITLE}
    for source in sorted((CLIENT / "asynchronous").glob("*.py")):
        if source.name != "__init__.py":
            made[source.name] = _synchronous(source.read_text())
    return made


def _synchronous(text: str) -> str:
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    for arguments in (["check", "--select", "I", "--fix"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--stdin-filename", str(CLIENT / "x.py"), "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    for name, text in written().items():
        (CLIENT / "synchronous" / name).write_text(text)
