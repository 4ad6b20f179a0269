"""`udair deploy`: a platform on Kubernetes, from one settings file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Output
from udair_platform.cli.render import note, table

if TYPE_CHECKING:
    from udair_platform.deploy.cluster import Applied
    from udair_platform.deploy.manifests import Manifests
    from udair_platform.deploy.settings import DeploySettings

app = typer.Typer(help="A platform on Kubernetes, from one settings file.", no_args_is_help=True)
File = Annotated[
    Path, typer.Option("--settings", "-f", metavar="FILE", help="The deployment, as in k8s/settings.example.yaml.")
]
Kubeconfig = Annotated[Path | None, typer.Option(metavar="FILE", help="As kubectl takes it; default: KUBECONFIG.")]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig; default: its current one.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it.")]
WithData = Annotated[
    bool, typer.Option("--with-data", help="Also databases and namespaces, with every Secret and volume in them.")
]
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
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Longest wait for the database's migration; 0: none.")
    ] = 900.0,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Make it so, by server-side apply; what is as it should be is left alone. The database first, then what uses it."""
    from udair_platform.deploy.cluster import Cluster
    from udair_platform.deploy.migration import forget_failed, wait_for

    _, made = _made(settings)
    cluster = Cluster(kubeconfig, context)
    forget_failed(cluster, made)

    def then(applied: dict[str, Any]) -> None:
        if timeout:
            wait_for(cluster, applied, timeout_s=timeout, say=note)

    done = cluster.apply_all(made.ordered(), force=force, then=then)
    columns: dict[str, str | None] = dict.fromkeys(("kind", "name", "namespace", "result"))
    table(output, done, columns, empty="nothing to apply")
    note(f"next: udair deploy status -f {settings}")


@app.command()
def prune(
    settings: File,
    yes: Yes = False,
    with_data: WithData = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Delete what an earlier apply made and the settings no longer ask for; without --yes only say what."""
    from udair_platform.deploy.cluster import Cluster
    from udair_platform.deploy.removal import prune as remove

    wanted, made = _made(settings)
    done = remove(Cluster(kubeconfig, context), wanted, made, really=yes, with_data=with_data)
    _removed(done, output, yes=yes)


@app.command()
def delete(
    settings: File,
    yes: Yes = False,
    with_data: WithData = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Format = Output.TABLE,
) -> None:
    """Delete the deployment and its running jobs; without --yes only say what. Store and database outside stay."""
    from udair_platform.deploy.cluster import Cluster
    from udair_platform.deploy.removal import delete as remove

    done = remove(Cluster(kubeconfig, context), _made(settings)[0], really=yes, with_data=with_data)
    _removed(done, output, yes=yes)


def _removed(done: list[Applied], output: Output, *, yes: bool) -> None:
    from udair_platform.deploy.removal import KEPT

    table(output, done, dict.fromkeys(("kind", "name", "namespace", "result")), empty="nothing to delete")
    if any(item.result == KEPT for item in done):
        note("kept: it holds data; --with-data deletes namespaces with their Secrets and volumes, too")
    if done and not yes:
        note("nothing was deleted; --yes does it")


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
