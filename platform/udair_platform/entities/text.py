"""How long the texts of entities may be: what the database keeps to, and nobody else needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Chars:
    """At most so many characters; None: any number, and a NUL in it is replaced, for somebody else wrote it."""

    most: int | None


Id = Annotated[str, Chars(40)]
TenantId = Annotated[str, Chars(63)]
DomainName = Annotated[str, Chars(63)]
Timestamp = Annotated[str, Chars(40)]  # as somebody else wrote it
Name = Annotated[str, Chars(128)]  # of people, machines and models; a digest, too
ShortName = Annotated[str, Chars(64)]
Cause = Annotated[str, Chars(256)]
Word = Annotated[str, Chars(32)]
Verdict = Annotated[str, Chars(16)]
Prose = Annotated[str, Chars(None)]
