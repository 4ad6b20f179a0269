"""The command line `udair`. Answers on stdout, progress on stderr; exit codes say what happened.

0 ok · 1 error · 2 usage · 3 job failed · 4 gate rejected · 5 not found or denied · 124 wait timed
out · 130 interrupted. `udair --help` loads no server, no torch and no ray.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from udair_platform.cli import admin, domains, images, jobs, keys, local, tenants, versions
from udair_platform.cli.exits import exit_code_of

app = typer.Typer(
    name="udair",
    help="Image restoration that adapts itself to every place it is deployed.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
local.register(app)
app.add_typer(domains.app, name="domain")
jobs.register(app)
app.add_typer(jobs.app, name="job")
app.add_typer(versions.app, name="version")
versions.register(app)
images.register(app)
app.add_typer(keys.app, name="key")
admin.app.add_typer(tenants.app, name="tenant")
app.add_typer(admin.app, name="admin")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="udair")
    except Exception as error:
        code, said = exit_code_of(error)
        if code is None:
            raise
        print(said, file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback(invoke_without_command=True)
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Image restoration that adapts itself to every place it is deployed."""
    if version:
        import udair

        typer.echo(udair.__version__)
        raise typer.Exit
