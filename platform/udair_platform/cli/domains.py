"""`udair domain`: the places that are adapted to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli import exits
from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show, table, watched
from udair_platform.cli.routes import MinReady, share_out
from udair_platform.cli.serving_history import history
from udair_platform.cli.traffic import metrics

if TYPE_CHECKING:
    from udair_platform.client import Domain
    from udair_platform.contract.domains import ScheduleStatus

_SHOWN = 5  # files that were left out
app = typer.Typer(help="Places to adapt to.", no_args_is_help=True)
app.command()(history)
app.command()(metrics)
Name = Annotated[str, typer.Argument(metavar="NAME", help="3 to 63 of a-z, 0-9 and '-'.")]
Cron = Annotated[str | None, typer.Option(help="Adapt then, five fields in UTC, e.g. '0 3 * * 1'; '' is never.")]
Tone = Annotated[
    str | None,
    typer.Option(help="keep: exposure, colour and haze stay as they are; restore: they are corrected, too."),
]
ToneAim = Annotated[
    float | None,
    typer.Option(
        help="Mean brightness of restored pictures that you want, 0.05 to 0.95, with tone restore; 0 is none."
    ),
]
References = Annotated[
    str | None,
    typer.Option("--reference", help="s3://bucket/prefix of good pictures of the same place or kind; '' is none."),
]
OnDrift = Annotated[bool | None, typer.Option("--on-drift/--no-on-drift", help="Adapt when its images have drifted.")]


@app.command()
def create(
    name: Name,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            "-s",
            help="s3://bucket/prefix of its images, or a folder here, whose images are uploaded; without it, upload later.",
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Read the folder where it is: the platform is here, and allows it."),
    ] = False,
    tone: Tone = "keep",
    tone_aim: ToneAim = None,
    reference: References = None,
    gate: Annotated[str, typer.Option(help="standard or strict.")] = "standard",
    four_eyes: Annotated[
        bool, typer.Option("--four-eyes", help="Who submitted a job may not let its version serve.")
    ] = False,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    role_arn: Annotated[str | None, typer.Option(help="A role of yours that reads the source.")] = None,
    cron: Cron = None,
    on_drift: OnDrift = None,
    check_source: Annotated[
        bool, typer.Option("--check/--no-check", help="Say at once if a job could not read its images.")
    ] = True,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Register a domain; the source model serves it until a version is promoted."""
    from udair_platform.client.local_images import local_images

    folder = source if source is not None and "://" not in source else None
    if folder is not None:
        local_images(folder)  # before anything is made
    if in_place:
        if folder is None:
            raise typer.BadParameter(f"--in-place reads a folder here; --source is {source!r}.")
        source, folder = Path(folder).resolve().as_uri(), None
    rules = {"policy": gate, "four_eyes": four_eyes}
    domain = connect(home).domains.create(
        name,
        None if folder is not None else source,
        tone=tone or "keep",
        tone_aim=tone_aim or None,
        reference_uri=reference or None,
        gate=rules,
        description=description,
        role_arn=role_arn,
        schedule=_schedule(cron, on_drift),
    )
    lines = [
        ("domain", domain.name),
        ("source", domain.source_uri),
        *intent(domain),
        ("gate", domain.gate.policy),
    ]
    if role_arn:
        lines.append(("external id", f"{domain.external_id}  (the role's trust policy must ask for it)"))
    if folder is not None:
        lines.append(("uploaded", _upload(domain, folder)))
    show(output, domain, lines)
    # A role trusts the domain's external id only from now on: it cannot be tried yet.
    if check_source and source is not None and folder is None and role_arn is None:
        wrong = next((step for step in domain.check_access().steps if not step.ok), None)
        if wrong is not None:
            note(f"warning: a job could not read its images: {wrong.name}: {wrong.detail}")
    note(
        f"next: udair run {domain.name}"
        if folder
        else f"next: udair domain check {domain.name}   udair run {domain.name}"
    )


@app.command()
def upload(
    name: Name,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Its images, those in sub-folders too.")],
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Upload the images of a folder here, for a domain without a bucket of its own."""
    domain = connect(home).domains.get(name)
    show(output, domain, [("domain", domain.name), ("uploaded", _upload(domain, folder))])
    note(f"next: udair run {domain.name}")


def _upload(domain: Domain, folder: str) -> str:
    """Upload a folder, with a bar where somebody looks; what became of it, in words."""
    from rich.console import Console
    from rich.progress import Progress

    if watched():
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("uploading", total=None)
            done = domain.upload(folder, on_progress=lambda sent, of: progress.update(bar, completed=sent, total=of))
    else:
        done = domain.upload(folder)
    for path, why in done.left_out[:_SHOWN]:
        note(f"left out: {path}: {why}")
    if len(done.left_out) > _SHOWN:
        note(f"left out: {len(done.left_out) - _SHOWN} more")
    return f"{done.images} images, {done.bytes / 1e6:.1f} MB" + (
        f"; {len(done.left_out)} files left out" if done.left_out else ""
    )


@app.command()
def update(
    name: Name,
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    tone: Tone = None,
    tone_aim: ToneAim = None,
    reference: References = None,
    gate: Annotated[str | None, typer.Option(help="standard or strict.")] = None,
    limits: Annotated[
        list[str] | None, typer.Option("--limit", metavar="CHECK=VALUE", help="A limit of the gate; repeatable.")
    ] = None,
    four_eyes: Annotated[
        bool | None, typer.Option("--four-eyes/--no-four-eyes", help="Only an admin takes it away.")
    ] = None,
    cron: Cron = None,
    on_drift: OnDrift = None,
    min_ready: MinReady = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Change a domain; what is not given stays as it is."""
    domain = connect(home).domains.get(name)
    rules: dict[str, Any] = {"policy": gate, "four_eyes": four_eyes, "limits": _limits(limits or []) or None}
    rules = {key: value for key, value in rules.items() if value is not None}
    schedule = _schedule(cron, on_drift)
    if schedule is not None:
        schedule = domain.schedule.model_dump(exclude={"next_run_time"}) | schedule
    changed = domain.change(
        description=description,
        tone=tone,
        tone_aim=tone_aim,
        reference_uri=reference,
        gate=rules or None,
        schedule=schedule,
    )
    if min_ready is not None:
        share_out(domain, "ready replicas", min_ready=min_ready)
    _show(changed, output)
    before, now = dict(intent(domain)), dict(intent(changed))
    other = [f"{what} {before.get(what, 'none')}" for what in before | now if before.get(what) != now.get(what)]
    if other:
        note(f"versions made for {', '.join(other)} are out of use; next: udair run {name}")


@app.command()
def check(name: Name, home: Home = "", output: Format = Output.TABLE) -> None:
    """Try what a job will do first: take the role, list the images, read one. Ends with 1 if that fails."""
    found = connect(home).domains.get(name).check_access()
    table(output, found.steps, {"step": "name", "ok": None, "detail": None}, empty="")
    if not found.ok:
        note(
            exits.format_error(
                f"A job could not read the images of {name}.",
                "the step above failed",
                f"mend what it says; `udair domain show {name} -o json` has the source, the role and its external id",
            )
        )
        raise typer.Exit(exits.ERROR)


@app.command("list")
def list_domains(
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many; default all.")] = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Domains, oldest first."""
    columns = {"name": None, "serves": "champion", "tone": None, "source": "source_uri", "created": "created_time"}
    table(output, connect(home).domains.list(limit=limit), columns, empty="no domains yet; udair domain create")


@app.command("show")
def show_domain(name: Name, home: Home = "", output: Format = Output.TABLE) -> None:
    """One domain."""
    _show(connect(home).domains.get(name), output)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = "",
) -> None:
    """End a domain: it is no longer served. Its history and stored objects stay."""
    if not yes:
        typer.confirm(f"Stop serving {name} and end it?", abort=True, err=True)
    connect(home).domains.get(name).delete()
    note(f"domain {name} deleted")


def _show(domain: Domain, output: Output) -> None:
    lines = [
        ("domain", domain.name),
        ("source", domain.source_uri),
        ("serves", serving(domain)),
        *intent(domain),
        ("aliases", domain.aliases),
        ("gate", f"{domain.gate.policy} {domain.gate.limits or ''}".strip()),
        ("four eyes", domain.gate.four_eyes),
        ("schedule", _said(domain.schedule)),
        ("about", domain.description),
        ("created", domain.created_time),
    ]
    show(output, domain, lines)


def _schedule(cron: str | None, on_drift: bool | None) -> dict[str, Any] | None:
    given = {"cron": cron, "on_drift": on_drift}
    return {name: value for name, value in given.items() if value is not None} or None


def _said(schedule: ScheduleStatus) -> str | None:
    parts = [f"cron {schedule.cron}" if schedule.cron else "", "on drift" if schedule.on_drift else ""]
    return ", ".join(part for part in parts if part) or None


def _limits(pairs: list[str]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in (pair.split("=", 1) for pair in pairs)}
    except ValueError:
        raise typer.BadParameter(
            f"--limit {' '.join(pairs)}: expected CHECK=VALUE, e.g. min_matched_gain_db=0.8."
        ) from None


def intent(domain: Domain) -> list[tuple[str, str]]:
    """What its restorations shall be like, for people: what is set of it."""
    aim = "" if domain.tone_aim is None else f"{domain.tone_aim:g}"
    return [
        line
        for line in (("tone", domain.tone), ("tone aim", aim), ("references", domain.reference_uri or ""))
        if line[1]
    ]


def serving(domain: Domain) -> str:
    """What answers for a domain now, in words."""
    if domain.champion and not domain.out_of_use:
        return f"v{domain.champion}"
    base = "images as they came" if domain.passthrough else "v0 (the base model)"
    why = domain.out_of_use or domain.passthrough
    return f"{base}: {why}" if why else base
