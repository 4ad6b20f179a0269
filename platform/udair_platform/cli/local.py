"""`udair up` and `udair demo`: a whole platform on this machine. Both load the server when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from udair_platform.cli.options import recipe_option

Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="Everything is kept here.")]
DEFAULT_HOME, DEFAULT_OUT = Path(".udair"), Path("runs/demo")


def up(
    home: Home = DEFAULT_HOME,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the control API; 0 picks one.")] = 8080,
    serve_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the data plane.")] = 8000,
    store: Annotated[str | None, typer.Option(help="The platform's own objects: s3://… or a folder.")] = None,
    s3_endpoint_url: Annotated[
        str | None, typer.Option(help="S3 endpoint, if not AWS; without it, AWS_ENDPOINT_URL.")
    ] = None,
    allow_folder: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Folders in it may be domains, read where they are; repeatable."),
    ] = None,
    launcher: Annotated[
        Literal["auto", "ray", "local"],
        typer.Option(help="What runs jobs and serving: Ray, processes without it, or the first of the two that can."),
    ] = "auto",
) -> None:
    """Start a platform on this machine; Ctrl-C stops it, and the next start goes on where it was."""
    from udair_platform.local.options import LocalOptions
    from udair_platform.local.up import up as run

    raise typer.Exit(
        run(LocalOptions(home, port, serve_port, store, s3_endpoint_url, launcher, tuple(allow_folder or ())))
    )


def demo(
    home: Annotated[Path | None, typer.Option("--home", metavar="DIR", help="Keep the platform there.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For report.json, gallery.html.")] = Path("runs/demo"),
    images: Annotated[str | None, typer.Option(help="Your own photographs: a folder or s3://….")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many photographs.")] = None,
    seed: Annotated[int, recipe_option("seed")] = 0,
    steps: Annotated[int | None, recipe_option("steps")] = None,
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the platform up.")] = False,
) -> None:
    """Play a customer through the whole journey, on real photographs and real parts."""
    from udair_platform import demo as journey

    code = journey.run_demo(
        home=home, out=out, images=images, count=count, seed=seed, steps=steps, keep_running=keep_running
    )
    raise typer.Exit(code)
