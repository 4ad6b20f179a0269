"""`udair login`, `logout`, `whoami`: which platform commands talk to, and as whom."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show

ProfileName = Annotated[str, typer.Argument(metavar="[PROFILE]", help="Which one.")]


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The control API, e.g. https://udair.example.com.")],
    name: Annotated[str, typer.Option("--as", metavar="PROFILE", help="The profile's name.")] = "default",
) -> None:
    """Keep a platform's address and your key as a profile. The key is asked for, or read from stdin."""
    from udair_platform.client import Client
    from udair_platform.client.connection import write_profile

    key = typer.prompt("API key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise typer.BadParameter("no key was given; expected it on stdin, e.g. udair login URL < key.txt.")
    os.environ.pop("UDAIR_PROFILE", None)
    with Client(url, key) as client:
        platform = client.platform()
    path = write_profile(name, url, key)
    typer.echo(f"{name}  {url}  tenant {platform.tenant}")
    note(
        f"kept in {path}"
        + ("" if name == "default" else f"; use it: udair --profile {name} …, or UDAIR_PROFILE={name}")
    )


def login_link(home: Home = "", output: Format = Output.TABLE) -> None:
    """Print a link that logs a browser in to the console, once. It is good for 15 minutes."""
    link = connect(home).login_link()
    if output is Output.TABLE:
        typer.echo(link.url)
        note(f"works once, until {link.expires_time:%H:%M:%S} UTC")
    else:
        show(output, link.model_dump(mode="json"), [])


def logout(name: ProfileName = "default") -> None:
    """Forget a profile. The key stays good: udair key revoke ends it."""
    from udair_platform.client.connection import remove_profile

    note(f"profile {name!r} is gone from {remove_profile(name)}")


def whoami(home: Home = "", output: Format = Output.TABLE) -> None:
    """Which platform, tenant and key commands use here, and where that is said."""
    from udair_platform.client.connection import find

    found = find(home=home or None)
    platform = connect(home).platform()
    kid = _key_id(found.api_key)
    value = {
        "tenant": platform.tenant,
        "url": found.url,
        "serve_url": platform.serve_url,
        "key": kid,
        "version": platform.version,
        "from": found.origin,
    }
    show(output, value, list(value.items()))


def _key_id(token: str) -> str:
    """The id of a key; of a token of the identity provider there is none."""
    if not token.startswith("ak_"):
        return "a token of the identity provider"
    return token.split(".")[0].removeprefix("ak_")
