"""`udair batch` and `udair sweep`: jobs that need no platform, as processes of this machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from udair_platform.cli.options import Format, Home, Output, connect, split_version
from udair_platform.cli.render import note, table

app = typer.Typer(help="Search hyperparameters over one domain's images.", no_args_is_help=True)
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of the job's configuration; repeatable.")
]


def batch(
    source: Annotated[str, typer.Argument(metavar="IN", help="s3://bucket/prefix or a folder.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="s3://bucket/prefix or a folder.")],
    version: Annotated[
        str, typer.Option("--domain", "-d", metavar="NAME[@VERSION]", help="Whose adapter; none: the base model alone.")
    ] = "",
    tone: Annotated[str, typer.Option(help="keep or restore; default: the domain's, else keep.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with one model.")] = 2,
    settings: Settings = None,
    home: Home = "",
) -> None:
    """Restore every image below a prefix into another. Runs on this machine's Ray; run again, it goes on."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"source_uri={source}", f"output_uri={target}", f"workers={workers}"]
        if version:
            words += _adapter(version if "@" in version else f"{version}@champion", home, Path(folder))
        words += [f"tone={tone}"] if tone else []
        words += settings or []
        raise typer.Exit(_job("restore_batch", words))


@app.command("run")
def run_sweep(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="tta, alignment, recipe or source.")],
    source: Annotated[str, typer.Argument(metavar="IN", help="The domain's images: s3://bucket/prefix or a folder.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Where the sweep is kept.")],
    clean: Annotated[str, typer.Option(help="Their clean versions, if there are any: scores are PSNR then.")] = "",
    tone: Annotated[str, typer.Option(help="keep or restore.")] = "keep",
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try.")] = 24,
    concurrent: Annotated[int, typer.Option(min=1, help="Trials at the same time.")] = 2,
    settings: Settings = None,
) -> None:
    """Search hyperparameters, on this machine's Ray; run again, it goes on."""
    words = [
        f"sweep={kind}",
        f"source_uri={source}",
        f"output_uri={target}",
        f"tone={tone}",
        f"trials={trials}",
        f"concurrent={concurrent}",
    ]
    raise typer.Exit(_job("sweep", [*words, *([f"clean_uri={clean}"] if clean else []), *(settings or [])]))


@app.command("show")
def show_sweep(
    target: Annotated[str, typer.Argument(metavar="OUT", help="Where the sweep is kept.")],
    endpoint_url: Annotated[str | None, typer.Option(help="S3 endpoint, if not AWS.")] = None,
    best: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the best trials.")] = 10,
    output: Format = Output.TABLE,
) -> None:
    """The best trials of a sweep, and the values to use."""
    import io

    import pyarrow.parquet as pq

    from udair_jobs.storage import NotFound, open_storage
    from udair_jobs.sweep.report import TRIALS, TUNED

    storage = open_storage(target, endpoint_url=endpoint_url)
    try:
        rows = pq.read_table(io.BytesIO(storage.get(TRIALS))).to_pylist()
    except NotFound:
        note(f"{target} has no {TRIALS} yet; udair sweep run makes it")
        raise typer.Exit(1) from None
    scored = sorted((row for row in rows if row["score_db"] is not None), key=lambda row: -row["score_db"])
    shown = [_trial(row) for row in scored[:best]]
    table(
        output, shown, dict.fromkeys(shown[0] if shown else ("trial",)), empty=f"none of {len(rows)} trials has a score"
    )
    note(f"{len(scored)} of {len(rows)} trials scored; the best values: {target}/{TUNED}")


def _trial(row: dict[str, Any]) -> dict[str, Any]:
    values = {name.removeprefix("values."): value for name, value in row.items() if name.startswith("values.")}
    return {
        "trial": row["trial_id"],
        "score_db": row["score_db"],
        "check_db": row["check_db"],
        "state": row["state"],
        **values,
    }


def _adapter(version: str, home: str, folder: Path) -> list[str]:
    """What the job must be told to use `version`; the source model (0) needs nothing."""
    name, number = split_version(version)
    client = connect(home)
    domain = client.domains.get(name)
    if number == "0" or (number == "@champion" and not domain.champion):
        note(f"{name} is served by the source model; so is this")
        return [f"tone={domain.tone}"]
    found = domain.version(number)
    found.download(folder)
    note(f"adapter  {name}@{found.number}")
    base = next(one for one in client.base_models() if one.digest == found.base_model.digest)
    return [f"adapter_uri={folder}", f"tone={found.tone}", *([f"base_uri={base.uri}"] if base.uri else [])]


def _job(module: str, words: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", f"udair_jobs.{module}", *words], check=False).returncode
