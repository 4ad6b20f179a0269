"""Options that commands share, and the connection that they describe."""

from __future__ import annotations

import re
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair.config import RecipeConfig
from udair_platform.cli import completion

if TYPE_CHECKING:
    from udair_platform.client import Client


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


def _output(text: str) -> Output:
    """A format, or the name of a file whose ending says the format: there the result goes then."""
    if text in set(Output):
        return Output(text)
    known = {".json": Output.JSON, ".yaml": Output.YAML, ".yml": Output.YAML, ".txt": Output.TABLE}
    chosen = known.get(Path(text).suffix.lower())
    if chosen is None:
        raise typer.BadParameter(f"{text!r}: expected table, json, yaml, name, or a FILE.json, .yaml or .txt.")
    from udair_platform.cli.render import send_to

    try:
        send_to(Path(text))
    except OSError as error:
        raise typer.BadParameter(f"{text!r} cannot be written: {error.strerror}.") from None
    return chosen


Format = Annotated[
    Output,
    typer.Option(
        "--output",
        "-o",
        parser=_output,
        metavar="OUT",
        help="The result: table, json, yaml or name; or FILE.json, .yaml, .txt.",
    ),
]
# A domain is named first, by position. The option is what it was before, and good for ever.
Named = Annotated[str, typer.Argument(metavar="NAME", help="The domain.", autocompletion=completion.domains)]
Place = Annotated[
    str, typer.Argument(metavar="NAME", help="The domain.", show_default=False, autocompletion=completion.domains)
]
OnePlace = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Only this domain.", show_default=False, autocompletion=completion.domains),
]
AsOption = Annotated[
    str,
    typer.Option(
        "--domain",
        "-d",
        metavar="NAME",
        help="The same, as an option.",
        show_default=False,
        autocompletion=completion.domains,
    ),
]
NamedVersion = Annotated[
    str,
    typer.Argument(
        metavar="NAME@VERSION", help="e.g. foggy-cams@7, foggy-cams@champion", autocompletion=completion.versions
    ),
]
Why = Annotated[str, typer.Option("--reason", "-r", help="For the history.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")]


def recipe_option(name: str) -> Any:
    """The option of a field of the recipe: range and help are those of its declaration."""
    said = next(item.metadata for item in fields(RecipeConfig) if item.name == name)
    text = str(said["description"])
    return typer.Option(min=said["ge"], max=said["le"], help=f"{text[0].upper()}{text[1:]}.")


def connect(home: str) -> Client:
    """A client of the platform that the options or the environment name."""
    from udair_platform.client import Client

    return Client(home=home or None)


def domain_of(place: str, option: str) -> str:
    """The domain that a command was given, by position or as `-d`.

    Raises:
        typer.BadParameter: It was given neither way, or both and not the same.
    """
    if place and option and place != option:
        raise typer.BadParameter(f"NAME is {place!r} and --domain is {option!r}; expected one of them.")
    if not place and not option:
        raise typer.BadParameter("NAME is missing; expected a domain. `udair domain list` shows them.")
    return place or option


def split_version(named: str) -> tuple[str, str]:
    """``foggy-cams@7`` as domain and version, the version as the API names it: ``7`` or ``@champion``.

    Raises:
        typer.BadParameter: It is not of that form.
    """
    match = re.match(r"^([a-z][a-z0-9-]*)@([A-Za-z0-9-]+)$", named)
    if match is None:
        raise typer.BadParameter(f"{named!r} names no version; expected NAME@VERSION, e.g. foggy-cams@7.")
    return match[1], match[2] if match[2].isdigit() else f"@{match[2]}"
