"""`udair endpoint`: the data plane."""

from __future__ import annotations

from typing import Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show

app = typer.Typer(help="The data plane that serves every domain from one backbone.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """The data plane that serves every domain from one backbone."""


@app.command("show")
def show_endpoint(home: Home = "", output: Format = Output.TABLE) -> None:
    """Where it is, and whether it answers. Ends with 1 if it does not."""
    import httpx

    platform = connect(home).platform()
    ready, message = False, ""
    try:
        reply = httpx.get(f"{platform.serve_url}/readyz", timeout=10.0)
        ready, message = reply.is_success, reply.text[:200]
    except httpx.TransportError as error:
        message = str(error)
    value: dict[str, Any] = {"url": platform.serve_url, "ready": ready, "base_model": platform.base_model}
    base = platform.base_model
    lines = [
        ("url", platform.serve_url),
        ("ready", ready),
        ("base", f"{base.name} {base.digest[:16]}" if base else None),
        ("restore", f"POST {platform.serve_url}/v1/domains/NAME:restore"),
    ]
    show(output, value | {"base_model": base.model_dump(mode="json") if base else None}, lines)
    if not ready:
        note(exits.format_error("The data plane does not answer.", message, "udair doctor"))
        raise typer.Exit(exits.ERROR)
