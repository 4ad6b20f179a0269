"""`udair webhook`: where events are sent, signed as Standard Webhooks says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show, table

if TYPE_CHECKING:
    from udair_platform.client import Webhook

app = typer.Typer(help="Where events are sent.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="https://…")],
    kind: Annotated[
        list[str] | None, typer.Option("--kind", "-k", help="e.g. job.SUCCEEDED, job.*; repeatable.")
    ] = None,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Have events sent there from now on. The secret is shown this once."""
    made = connect(home).webhooks.create(url, kind or ["*"], description=description)
    _show(made, output, secret=made.secret)
    note(f"the secret is not shown again.  try: udair webhook ping {made.id}")


@app.command("list")
def list_webhooks(home: Home = "", output: Format = Output.TABLE) -> None:
    """Webhooks, oldest first."""
    columns = {
        "id": None,
        "url": None,
        "kinds": None,
        "state": None,
        "behind": None,
        "failures": None,
        "error": "last_error",
    }
    table(output, connect(home).webhooks.list(), columns, empty="no webhooks")


@app.command("show")
def show_webhook(webhook: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """One webhook, and how its deliveries go."""
    _show(connect(home).webhooks.get(webhook), output)


@app.command()
def ping(webhook: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Send it a webhook.ping, whatever kinds it takes."""
    _show(connect(home).webhooks.ping(webhook), output)


@app.command()
def enable(webhook: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Send again what happens from now on."""
    _show(connect(home).webhooks.enable(webhook), output)


@app.command()
def disable(webhook: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Send nothing until it is enabled again."""
    _show(connect(home).webhooks.disable(webhook), output)


@app.command()
def rotate(webhook: Id, home: Home = "", output: Format = Output.TABLE) -> None:
    """Another secret; what is sent is signed with both until the next rotation."""
    rotated = connect(home).webhooks.rotate_secret(webhook)
    _show(rotated, output, secret=rotated.secret)


@app.command()
def delete(webhook: Id, home: Home = "") -> None:
    """Send nothing more."""
    connect(home).webhooks.delete(webhook)
    note(f"webhook {webhook} deleted")


def _show(webhook: Webhook, output: Output, *, secret: str = "") -> None:
    lines = [
        ("id", webhook.id),
        ("url", webhook.url),
        ("kinds", webhook.kinds),
        ("state", webhook.state),
        ("failures", webhook.failures),
        ("behind", f"{webhook.behind} events"),
        ("error", webhook.last_error),
        ("delivered", webhook.delivered_time),
    ]
    show(output, webhook, [*lines, ("secret", secret)] if secret else lines)
