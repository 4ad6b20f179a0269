"""`udair deploy`: a platform on Kubernetes, from one settings file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Output
from udair_platform.cli.render import note, table

if TYPE_CHECKING:
    from udair_platform.deploy.manifests import Manifests
    from udair_platform.deploy.settings import DeploySettings

app = typer.Typer(help="A platform on Kubernetes, from one settings file.", no_args_is_help=True)
File = Annotated[
    Path, typer.Option("--settings", "-f", metavar="FILE", help="The deployment, as in k8s/settings.example.yaml.")
]
Kubeconfig = Annotated[Path | None, typer.Option(metavar="FILE", help="As kubectl takes it; default: KUBECONFIG.")]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig; default: its current one.")]
Force = Annotated[bool, typer.Option("--force-conflicts", help="Take over fields that others own.")]


@app.command()
def render(settings: File) -> None:
    """Print the manifests. Asks no cluster, and gives the same for the same file."""
    _, made = _made(settings)
    print(made.yaml(), end="")


@app.command()
def diff(settings: File, kubeconfig: Kubeconfig = None, context: Context = None) -> None:
    """What an apply would change. Ends with 1 if it would change something, as `kubectl diff` does."""
    from udair_platform.deploy.cluster import Cluster

    _, made = _made(settings)
    differs = False
    for line in Cluster(kubeconfig, context).diff(made.ordered()):
        differs = True
        print(line)
    if differs:
        raise typer.Exit(exits.ERROR)
    note("nothing differs")


@app.command()
def apply(
    settings: File,
    force: Force = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Make it so, by server-side apply; what is as it should be is left alone."""
    from udair_platform.deploy.cluster import Cluster

    _, made = _made(settings)
    cluster = Cluster(kubeconfig, context)
    done = [cluster.apply(item, force=force)[0] for item in made.ordered()]
    columns: dict[str, str | None] = dict.fromkeys(("kind", "name", "namespace", "result"))
    table(output, done, columns, empty="nothing to apply")
    note(f"next: udair deploy status -f {settings}")


@app.command()
def status(
    settings: File, kubeconfig: Kubeconfig = None, context: Context = None, output: Format = Output.TABLE
) -> None:
    """A checklist of the deployment. Ends with 1 if something fails that does not mend itself."""
    from udair_platform.deploy.cluster import Cluster
    from udair_platform.deploy.status import FAILED
    from udair_platform.deploy.status import status as look

    wanted, made = _made(settings)
    items = look(Cluster(kubeconfig, context), wanted, made)
    columns: dict[str, str | None] = dict.fromkeys(("check", "state", "message"))
    table(output, items, columns, empty="nothing to check")
    if any(item.state == FAILED for item in items):
        raise typer.Exit(exits.ERROR)


def _made(path: Path) -> tuple[DeploySettings, Manifests]:
    from udair_platform.deploy.render import render as make
    from udair_platform.deploy.settings import load

    settings = load(path)
    return settings, make(settings)
