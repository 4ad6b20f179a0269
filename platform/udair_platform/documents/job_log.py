"""What an attempt printed, as the store keeps it: the end of it, and how much came before."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

KEPT_BYTES = 2**20
_GAP = re.compile(rb"\[at least (\d{1,15}) bytes before this line are not kept\]\n")
_SHORTEST_CHARACTER_LOSS = 4  # cutting within a character may lose as much
_ANCHOR_BYTES = 4096


@dataclass(frozen=True)
class JobLog:
    """The end of a log.

    Attributes:
        data: What is kept.
        start: How many bytes were printed before that. Positions in a log count from its beginning, so that
            they stay what they are while the kept part moves on.
    """

    data: bytes = b""
    start: int = 0

    @classmethod
    def parse(cls, stored: bytes) -> JobLog:
        """What `stored` gave."""
        gap = _GAP.match(stored)
        return cls(stored[gap.end() :], int(gap[1])) if gap else cls(stored)

    def stored(self) -> bytes:
        """As the store keeps it; whoever reads it is told what is missing."""
        return (self.gap + "\n").encode() + self.data if self.start else self.data

    @property
    def gap(self) -> str:
        """What is said in place of what is not kept."""
        return f"[at least {self.start} bytes before this line are not kept]"

    @property
    def end(self) -> int:
        """The position behind the last byte."""
        return self.start + len(self.data)

    def followed_by(self, printed: bytes, *, blanked: Callable[[str], str]) -> JobLog:
        """The log now that the last `KEPT_BYTES` of what was printed are `printed`.

        Where they begin follows from what was kept before.

        Args:
            blanked: Takes secrets out of a text.
        """
        whole = len(printed) < KEPT_BYTES - _SHORTEST_CHARACTER_LOSS
        if not whole:
            printed = printed[printed.find(b"\n") + 1 :]  # the first line is a part of one
        tail = blanked(printed.decode(errors="replace")).encode()
        if whole:
            return JobLog(tail)
        if tail == self.data:
            return self
        shared = self.data.rfind(tail[:_ANCHOR_BYTES])
        # Nothing in common: more was printed meanwhile than is kept. At least a byte, so that the gap is said.
        return JobLog(tail, self.start + shared if shared >= 0 else self.end + 1)

    def lines(self, after: int, *, ended: bool) -> Iterator[tuple[str, int]]:
        """Lines behind position `after`, each with the position behind it.

        Args:
            ended: Nothing more will be printed: the last line is one although no newline ends it.
        """
        at = max(after, self.start)
        for line in self.data[at - self.start :].splitlines(keepends=True) if at < self.end else ():
            at += len(line)
            if at == self.end and not line.endswith(b"\n") and not ended:
                return  # the rest of it comes
            yield line.decode(errors="replace").rstrip("\r\n"), at
