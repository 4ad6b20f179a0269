"""Which platform the commands of who runs it work on: its settings `UDAIR_*`, as its processes have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from udair_platform.settings import Settings

Home = Annotated[
    Path | None, typer.Option("--home", metavar="DIR", help="The platform's folder; default: UDAIR_HOME, .udair.")
]


def settings_at(home: Path | None) -> Settings:
    """The platform's settings, as its processes have them."""
    from udair_platform.settings import load_settings

    return load_settings(home=home)
