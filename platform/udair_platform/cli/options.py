"""Options that commands share, and the connection that they describe."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from udair_platform.client import Client

DEFAULT_HOME = ".udair"


class Output(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


Home = Annotated[
    str,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The platform's folder. Without it UDAIR_URL and UDAIR_API_KEY count, then .udair.",
        show_default=False,
    ),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to write the result.")]
DomainName = Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="The domain.")]


def connect(home: str) -> Client:
    """A client of the platform that the options or the environment name."""
    from udair_platform.client import Client

    return Client(home=place(home))


def place(home: str) -> str | None:
    """The platform's folder, or None where the environment says where the platform is."""
    from_environment = os.environ.get("UDAIR_URL") and os.environ.get("UDAIR_API_KEY")
    return home or (None if from_environment else DEFAULT_HOME)


def split_version(text: str) -> tuple[str, str]:
    """``foggy-cams@7`` as domain and version.

    Raises:
        typer.BadParameter: It is not of that form.
    """
    match = re.match(r"^([a-z][a-z0-9-]*)@([A-Za-z0-9-]+)$", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} names no version; expected NAME@VERSION, e.g. foggy-cams@7.")
    return match[1], match[2]
