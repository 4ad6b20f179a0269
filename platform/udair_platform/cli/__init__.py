"""The command line `udair`. Answers on stdout, progress on stderr; exit codes say what happened.

0 ok · 1 error · 2 usage · 3 job failed · 4 gate rejected · 5 not found or denied · 124 wait timed
out · 130 interrupted. `udair --help` loads no command, no server, no torch and no ray.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from udair_platform.cli.lazy import LazyGroup

app = typer.Typer(
    name="udair",
    cls=LazyGroup,
    help="Image restoration that adapts itself to every place it is deployed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_ANYWHERE = {"--quiet": 0, "--no-color": 0, "--profile": 1}  # options of the root, and how many values follow


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    profile: Annotated[str, typer.Option(metavar="NAME", help="Which platform: a profile of `udair login`.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no hints on stderr.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; so does NO_COLOR.")] = False,
) -> None:
    """Image restoration that adapts itself to every place it is deployed.

    --profile, --quiet and --no-color may stand anywhere. Most commands take -o table, json, yaml or name.
    """
    if version:
        import udair

        typer.echo(udair.__version__)
        raise typer.Exit
    if profile:
        os.environ["UDAIR_PROFILE"] = profile
    if quiet:
        os.environ["UDAIR_QUIET"] = "1"
    if no_color:
        os.environ["NO_COLOR"] = "1"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        app(args=in_front(given), prog_name="udair")
    except BrokenPipeError:
        # Whoever read us has seen enough, e.g. `udair job list | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from udair_platform.cli.exits import exit_code_of

        code, message = exit_code_of(error)
        if code is None:
            raise
        print(message, file=sys.stderr)
        sys.exit(code)


def in_front(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the options of the root before the command, wherever they stood."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*front, *rest, word, *words]
        if word in _ANYWHERE:
            front += [word, *(value for _, value in zip(range(_ANYWHERE[word]), words, strict=False))]
        elif word.startswith("--profile="):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest]
