"""Options that commands share, and the connection that they describe."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from udair_platform.client import Client

DEFAULT_HOME = ".udair"


class Output(StrEnum):
    """How results are written: for people; for programs; or only the name of each thing."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Home = Annotated[
    str,
    typer.Option(
        "--home",
        metavar="DIR",
        help="The platform's folder. Without it: --profile, UDAIR_URL and UDAIR_API_KEY, .udair, the profile 'default'.",
        show_default=False,
    ),
]
Format = Annotated[Output, typer.Option("--output", "-o", help="How to write the result.")]
DomainName = Annotated[str, typer.Option("--domain", "-d", metavar="NAME", help="The domain.")]
Named = Annotated[str, typer.Argument(metavar="NAME", help="The domain.")]
NamedVersion = Annotated[str, typer.Argument(metavar="NAME@VERSION", help="e.g. foggy-cams@7, foggy-cams@champion")]
Why = Annotated[str, typer.Option("--reason", "-r", help="For the history.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")]


def connect(home: str) -> Client:
    """A client of the platform that the options or the environment name."""
    from udair_platform.client import Client

    return Client(home=place(home))


def place(home: str) -> str | None:
    """The platform's folder, or None where something else says where the platform is."""
    if home or os.environ.get("UDAIR_PROFILE") or os.environ.get("UDAIR_URL") or os.environ.get("UDAIR_API_KEY"):
        return home or None
    return DEFAULT_HOME if (Path(DEFAULT_HOME) / "client.json").exists() else None


def split_version(text: str) -> tuple[str, str]:
    """``foggy-cams@7`` as domain and version, the version as the API names it: ``7`` or ``@champion``.

    Raises:
        typer.BadParameter: It is not of that form.
    """
    match = re.match(r"^([a-z][a-z0-9-]*)@([A-Za-z0-9-]+)$", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} names no version; expected NAME@VERSION, e.g. foggy-cams@7.")
    return match[1], match[2] if match[2].isdigit() else f"@{match[2]}"
