"""`udair events`: the audit log."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import table, text


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="What happens from now on, for ever.")] = False,
    domain: Annotated[str | None, typer.Option("--domain", "-d", metavar="NAME", help="Only of this domain.")] = None,
    noun: Annotated[str | None, typer.Option(help="Only of this noun: job, version, domain, alias, key, …")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """The audit log, oldest first. Who did what, when, and because of what."""
    found = connect(home).events(domain=domain, noun=noun, follow=follow)
    columns = {"id": None, "time": None, "kind": None, "name": None, "by": "actor", "cause": None, "data": None}
    if not follow:
        table(output, found, columns, empty="nothing has happened")
        return
    for event in found:
        if output is Output.TABLE:
            message = (text(event.time), f"{event.kind:<24}", f"{event.name:<20}", event.actor)
            print("  ".join(message).rstrip(), flush=True)
        elif output is Output.NAME:
            print(text(event.id), flush=True)
        elif output is Output.YAML:
            import yaml

            # A document each: what goes on for ever is no list.
            told = yaml.safe_dump(event.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            print(f"---\n{told}", end="", flush=True)
        else:
            print(json.dumps(event.model_dump(mode="json"), ensure_ascii=False), flush=True)
