"""`udair run`: plan, ask, adapt, attach."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli.domains import intent, serving
from udair_platform.cli.options import AsOption, Format, Home, Output, Place, connect, domain_of, recipe_option
from udair_platform.cli.outcome import conclude
from udair_platform.cli.render import note, show
from udair_platform.cli.watch import watch

if TYPE_CHECKING:
    from udair_platform.client import Domain

_TONES = {
    "keep": "keep: noise, rain, blur and compression go; exposure, colour and haze stay (--tone of the domain)",
    "restore": "restore: exposure, colour and haze are corrected, too; a dark scene may be taken for a dark exposure",
}
Timeout = Annotated[float, typer.Option(help="Longest wait, seconds; 0 waits for ever. Exit code 124.")]


def run(
    place: Place = "",
    domain: AsOption = "",
    wait: Annotated[bool, typer.Option("--wait/--detach", help="Watch it, or return at once.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nothing is asked.")] = False,
    steps: Annotated[int | None, recipe_option("steps")] = None,
    seed: Annotated[int | None, recipe_option("seed")] = None,
    budget_s: Annotated[float | None, recipe_option("budget_s")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of the recipe, e.g. alignment.coral_weight=2."),
    ] = None,
    snapshot: Annotated[str | None, typer.Option(help="Use a snapshot again: its id, or 'latest'.")] = None,
    priority: Annotated[str, typer.Option(help="low, normal or high among the tenant's waiting jobs.")] = "normal",
    timeout: Timeout = 0.0,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Adapt the model to a domain and let the gate judge.

    Shows what will be done, asks, and watches. Ctrl-C stops watching, never the job.
    """
    given = {"steps": steps, "seed": seed, "budget_s": budget_s}
    recipe = {name: value for name, value in given.items() if value is not None} | _settings(settings or [])
    found = connect(home).domains.get(domain_of(place, domain))
    if output is Output.TABLE:
        _plan(found, snapshot, recipe, priority)
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm("Adapt?", default=True, abort=True, err=True)
    job = found.adapt(snapshot=snapshot, priority=priority.upper(), **recipe)
    if not wait:
        show(output, job, [("job", job.id), ("state", job.state)])
        note(f"watch: udair job wait {job.id}")
        return
    conclude(watch(job, timeout_s=timeout or None), output)


def _plan(domain: Domain, snapshot: str | None, recipe: dict[str, Any], priority: str) -> None:
    changed = ", ".join(f"{name}={value}" for name, value in recipe.items()) or "the default one"
    lines = [
        ("images", f"snapshot {snapshot}" if snapshot else f"what is in {domain.source_uri} now"),
        ("recipe", changed),
        ("gate", domain.gate.policy + (", four eyes" if domain.gate.four_eyes else "")),
        ("tone", _TONES[domain.tone]),
        *intent(domain)[1:],
        ("serves", f"{serving(domain)}; unchanged until you promote"),
        ("priority", priority.lower()),
    ]
    for name, value in lines:
        note(f"{name:<10}  {value}")


def _settings(pairs: list[str]) -> dict[str, Any]:
    """``["alignment.coral_weight=2"]`` as ``{"alignment": {"coral_weight": 2}}``."""
    import yaml

    made: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--set {pair!r}: expected KEY=VALUE, e.g. steps=200.")
        *path, last = name.split(".")
        place = made
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"--set {pair!r}: {part!r} is given a value, too.")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"--set {pair!r}: {value!r} is no value; expected e.g. steps=200.") from error
        place[last] = _number(value) if parsed == value else parsed
    return made


def _number(text: str) -> Any:
    # YAML takes 1e-4 for a word.
    try:
        return float(text)
    except ValueError:
        return text
