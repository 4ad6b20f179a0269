"""`udair budget`: what the tenant may use in a calendar month, and how much of that it has used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from udair_platform.cli.options import Format, Home, Output, connect
from udair_platform.cli.render import note, show

if TYPE_CHECKING:
    from udair_platform.contract.budgets import BudgetItem, BudgetStatus

app = typer.Typer(help="What a month may cost, and what it has.", no_args_is_help=True)
Images = Annotated[int | None, typer.Option(min=0, help="Images restored; 0 takes the limit away.")]
JobHours = Annotated[float | None, typer.Option(min=0, help="Hours that jobs run; 0 takes the limit away.")]
Money = Annotated[float | None, typer.Option(min=0, help="Cost, by the platform's prices; 0 takes the limit away.")]
WarnAt = Annotated[
    float | None, typer.Option(min=0.01, max=1, help="Share of a limit that is warned of; 0.8 at first.")
]


@app.command("show")
def show_budget(home: Home = "", output: Format = Output.TABLE) -> None:
    """The limits, and what this month (UTC) has used of them."""
    told(connect(home).budget.get(), output)


@app.command("set")
def set_budget(
    images: Images = None,
    job_hours: JobHours = None,
    money: Money = None,
    warn_at: WarnAt = None,
    home: Home = "",
    output: Format = Output.TABLE,
) -> None:
    """Set limits; what is not given stays. Once one is spent no new job starts in that month; images are restored."""
    client = connect(home)
    told(client.budget.set(**changed(client.budget.get(), images, job_hours, money, warn_at)), output)


@app.command()
def clear(home: Home = "", output: Format = Output.TABLE) -> None:
    """Take every limit away."""
    told(connect(home).budget.clear(), output)


def changed(
    known: Any, images: int | None, job_hours: float | None, money: float | None, warn_at: float | None
) -> dict[str, Any]:
    """The limits of `known` with those that are given in their place; 0 takes one away.

    Raises:
        typer.BadParameter: None is given.
    """
    given = {"images": images, "job_s": None if job_hours is None else job_hours * 3600, "money": money}
    given["warn_share"] = warn_at
    if all(value is None for value in given.values()):
        raise typer.BadParameter("nothing to set; expected --images, --job-hours, --money or --warn-at.")
    return {name: getattr(known, name) if value is None else value or None for name, value in given.items()}


def told(found: BudgetStatus, output: Output) -> None:
    """A budget and its use, for people or for programs."""
    lines: list[tuple[str, Any]] = [("state", found.state)]
    lines += [(_NAMES[item.item], _line(item, found.currency)) for item in found.items]
    lines += [("warns at", f"{100 * found.warn_share:g} %"), ("month", f"{found.from_time:%Y-%m}, UTC")]
    show(output, found, lines)
    if found.state == "spent":
        note(f"no new job starts until {found.to_time:%Y-%m-%d %H:%M} UTC, or until an admin raises the limit")
    elif all(item.limit is None for item in found.items):
        note("no limit is set; an admin sets one: udair budget set --help")


_NAMES = {"images": "images", "job_s": "jobs", "money": "money"}


def _line(item: BudgetItem, currency: str) -> str:
    def said(value: float) -> str:
        if item.item == "images":
            return f"{value:.0f}"
        return f"{value / 3600:.3g} h" if item.item == "job_s" else f"{value:.2f} {currency}".rstrip()

    if item.limit is None:
        return f"{said(item.used)}, no limit"
    mark = "" if item.state == "open" else f", {item.state}"
    return f"{said(item.used)} of {said(item.limit)}{mark}"
