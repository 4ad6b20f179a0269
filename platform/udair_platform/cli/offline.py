"""`udair batch` and `udair sweep`: jobs that need no platform, as processes of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from udair_platform.cli import completion, exits
from udair_platform.cli.options import AsOption, Format, Home, Output, connect, domain_of, split_version
from udair_platform.cli.render import note, table
from udair_platform.client.connection import DEFAULT_HOME
from udair_platform.documents import store_paths

app = typer.Typer(help="Search hyperparameters over one domain's images.", no_args_is_help=True)
Endpoint = Annotated[
    str,
    typer.Option(
        "--s3-endpoint-url",
        help="S3 endpoint, if not AWS; without it, AWS_ENDPOINT_URL, or that of the platform in this folder.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of the job's configuration; repeatable.")
]


def batch(
    source: Annotated[str, typer.Argument(metavar="IN", help="s3://bucket/prefix or a folder.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="s3://bucket/prefix or a folder.")],
    place: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@VERSION]",
            help="Whose adapter; none: the base model alone.",
            show_default=False,
            autocompletion=completion.versions,
        ),
    ] = "",
    version: AsOption = "",
    tone: Annotated[str, typer.Option(help="keep or restore; default: the domain's, else keep.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with one model.")] = 2,
    s3_endpoint_url: Endpoint = "",
    settings: Settings = None,
    home: Home = "",
) -> None:
    """Restore every image below a prefix into another. Runs on this machine's Ray; run again, it goes on."""
    version = domain_of(place, version) if place or version else ""
    endpoint = _endpoint(s3_endpoint_url, home)
    _reachable(source, endpoint)
    _reachable(target, endpoint, made=True)
    with tempfile.TemporaryDirectory() as folder:
        words = [f"source_uri={source}", f"output_uri={target}", f"workers={workers}"]
        if version:
            words += _adapter(version if "@" in version else f"{version}@champion", home, Path(folder))
        words += [f"tone={tone}"] if tone else []
        kept = _kept(store_paths.batches, Path(target.rstrip("/")).name or "batch", home)
        words += [f"kept_uri={kept}"] if kept else []
        words += settings or []
        raise typer.Exit(_job("restore_batch", words, endpoint))


@app.command("run")
def run_sweep(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="tta, alignment, recipe or source.")],
    source: Annotated[str, typer.Argument(metavar="IN", help="The domain's images: s3://bucket/prefix or a folder.")],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="Where the sweep is kept; default: where the console looks.")
    ] = "",
    clean: Annotated[str, typer.Option(help="Their clean versions, if there are any: scores are PSNR then.")] = "",
    tone: Annotated[str, typer.Option(help="keep or restore.")] = "keep",
    trials: Annotated[int, typer.Option(min=1, help="Configurations to try.")] = 24,
    concurrent: Annotated[int, typer.Option(min=1, help="Trials at the same time.")] = 2,
    s3_endpoint_url: Endpoint = "",
    settings: Settings = None,
    home: Home = "",
) -> None:
    """Search hyperparameters, on this machine's Ray; run again with the same OUT, it goes on."""
    endpoint = _endpoint(s3_endpoint_url, home)
    target = target or _kept(store_paths.sweeps, kind, home)
    if not target:
        raise typer.BadParameter("OUT is missing, and no platform is in this folder whose console would show it.")
    _reachable(source, endpoint)
    _reachable(target, endpoint, made=True)
    if clean:
        _reachable(clean, endpoint)
    words = [
        f"sweep={kind}",
        f"source_uri={source}",
        f"output_uri={target}",
        f"tone={tone}",
        f"trials={trials}",
        f"concurrent={concurrent}",
    ]
    words += [f"clean_uri={clean}"] if clean else []
    raise typer.Exit(_job("sweep", words + (settings or []), endpoint))


@app.command("show")
def show_sweep(
    target: Annotated[str, typer.Argument(metavar="OUT", help="Where the sweep is kept.")],
    s3_endpoint_url: Endpoint = "",
    home: Home = "",
    best: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the best trials.")] = 10,
    output: Format = Output.TABLE,
) -> None:
    """The best trials of a sweep, and the values to use."""
    import io

    import pyarrow.parquet as pq

    from udair_jobs.storage import NotFound, open_storage
    from udair_jobs.sweep.report import TRIALS, TUNED

    storage = open_storage(target, endpoint_url=_endpoint(s3_endpoint_url, home) or None)
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


def _kept(place: Callable[[str], str], name: str, home: str) -> str:
    """A new folder in the store of the platform here, where its console looks; empty where there is no platform."""
    from udair_platform.client.connection import store_of

    store, tenant = store_of(home or None)
    if not store or not tenant:
        return ""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:40] or "run"
    kept = f"{store}/{place(tenant)}/{plain}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    note(f"kept in {kept}; the console shows it under Sweeps")
    return kept


def _reachable(uri: str, endpoint: str, *, made: bool = False) -> None:
    """Say at once, and by its name, what a job could not reach: Ray takes half a minute to start, a store's patience more.

    Args:
        made: It need not be there: the job makes it, in a bucket that is.
    """
    from udair_jobs.storage import NotFound, StorageError, open_storage

    try:
        found = next(iter(open_storage(uri, endpoint_url=endpoint or None).list()), None)
    except StorageError as error:
        if made and "://" not in uri and isinstance(error, NotFound):
            return  # a folder that is not there yet
        note(exits.format_error(f"{uri} cannot be reached.", str(error), "mend that, and run the same command again"))
        raise typer.Exit(exits.ERROR) from None
    if found is None and not made:
        note(f"{uri} holds nothing; expected images below it. Is it spelt right?")
        raise typer.Exit(exits.ERROR)


def _endpoint(given: str, home: str) -> str:
    """The S3 endpoint that everything of a job is at; empty where the environment says it, or it is AWS."""
    from udair_platform.client.connection import s3_endpoint_of

    if given or any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")):
        return given
    found = s3_endpoint_of(home or None)
    if found:
        note(f"S3 is at {found}, as the platform in {home or DEFAULT_HOME} has it")
    return found


def _job(module: str, words: list[str], endpoint: str) -> int:
    """Run a job in a process of its own. Its S3 endpoint is in the environment, which reaches its workers, too."""
    environment = {**os.environ, **({"AWS_ENDPOINT_URL_S3": endpoint} if endpoint else {})}
    command = [sys.executable, "-m", f"udair_jobs.{module}", *words]
    return subprocess.run(command, check=False, env=environment).returncode
