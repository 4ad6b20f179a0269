"""`udair up` and `udair demo`: a whole platform on this machine. Both load the server when called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="Everything is kept here.")]
DEFAULT_HOME, DEFAULT_OUT = Path(".udair"), Path("runs/demo")


def up(
    home: Home = DEFAULT_HOME,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the control API; 0 picks one.")] = 8080,
    serve_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the data plane.")] = 8000,
    store: Annotated[str | None, typer.Option(help="The platform's own objects: s3://… or a folder.")] = None,
    s3_endpoint_url: Annotated[str | None, typer.Option(help="S3 endpoint of customers' buckets.")] = None,
    launcher: Annotated[str, typer.Option(help="What runs jobs: ray or local.")] = "ray",
) -> None:
    """Start a platform on this machine; Ctrl-C stops it, and the next start goes on where it was."""
    from udair_platform.local import platform as local

    options = local.LocalOptions(home, port, serve_port, store, s3_endpoint_url, launcher)
    raise typer.Exit(local.up(options))


def demo(
    home: Annotated[Path | None, typer.Option("--home", metavar="DIR", help="Keep the platform there.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="For report.json, gallery.html.")] = Path("runs/demo"),
    images: Annotated[str | None, typer.Option(help="Your own photographs: a folder or s3://….")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many photographs.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    steps: Annotated[int | None, typer.Option(min=0, max=2000, help="Adapter-training steps.")] = None,
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the platform up.")] = False,
) -> None:
    """Play a customer through the whole journey, on real photographs and real parts."""
    from udair_platform import demo as journey

    code = journey.run_demo(
        home=home, out=out, images=images, count=count, seed=seed, steps=steps, keep_running=keep_running
    )
    raise typer.Exit(code)
