"""Writes the client for threads from the client for event loops. Run by every build, and by `make client`.

One source and two clients, without a layer between them that types and tracebacks would have to cross.
"""

from __future__ import annotations

import re
from pathlib import Path

CLIENT = Path(__file__).parent / "udair_platform" / "client"
_NOTE = "# Written from ../asynchronous by platform/make_synchronous.py: change it there, and run `make client`.\n"
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
    """The files of `synchronous` that are made, by name."""
    sources = sorted((CLIENT / "asynchronous").glob("[!_]*.py"))
    return {source.name: _NOTE + _synchronous(source.read_text()) for source in sources}


def main() -> None:
    """Write what differs from what is there, and remove what has no source."""
    made = written()
    for path in (CLIENT / "synchronous").glob("[!_]*.py"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = CLIENT / "synchronous" / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _synchronous(text: str) -> str:
    for pattern, replacement in _RULES:
        text = re.sub(pattern, replacement, text)
    return text


if __name__ == "__main__":
    main()
