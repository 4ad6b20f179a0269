"""`udair admin tenant`: tenants of the platform whose UDAIR_* settings are in the environment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from udair_platform.cli.budget import Images, JobHours, Money, WarnAt, changed, told
from udair_platform.cli.operator import Home, settings_at
from udair_platform.cli.options import Format, Output
from udair_platform.cli.render import note, show, table
from udair_platform.entities.tenant import Quota

app = typer.Typer(help="Tenants, and what each may use.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="3 to 63 of a-z, 0-9, '-'; starts with a letter.")]
Jobs = Annotated[int | None, typer.Option(min=0, help="Jobs that run at once; 0 is the platform's own limit.")]
Queued = Annotated[int | None, typer.Option(min=0, help="Jobs that have not ended; 0 is the platform's own limit.")]
Domains = Annotated[int | None, typer.Option(min=0, help="Domains; 0 is the platform's own limit.")]


@app.command()
def create(name: Name, home: Home = None, output: Format = Output.TABLE) -> None:
    """Create a tenant. Its admin key is shown this once."""
    from udair_platform.bootstrap import prepare
    from udair_platform.services import tenants
    from udair_platform.services.change import Change

    database, _, signing_key, _ = prepare(settings_at(home))
    with database.write() as state:
        made, token = tenants.create(Change(state, "platform", datetime.now(UTC)), signing_key, name)
    show(output, {"id": made.id, "key": token}, [("tenant", made.id), ("key", token)])
    note("the key is not shown again.  limit it: udair admin tenant limit --help")


@app.command("list")
def list_tenants(home: Home = None, output: Format = Output.TABLE) -> None:
    """Every tenant and its own limits."""
    from udair_platform.bootstrap import prepare

    database, _, _, _ = prepare(settings_at(home))
    with database.read() as state:
        found = state.tenants.all()
    columns = {"name": "id", "jobs": "max_concurrent_jobs", "queued": "max_queued_jobs", "domains": "max_domains"}
    table(output, found, {**columns, "created": "created_time"}, empty="no tenants")


@app.command()
def limit(
    name: Name,
    max_concurrent_jobs: Jobs = None,
    max_queued_jobs: Queued = None,
    max_domains: Domains = None,
    home: Home = None,
    output: Format = Output.TABLE,
) -> None:
    """Change what a tenant may use; what is not named stays."""
    from udair_platform.bootstrap import prepare
    from udair_platform.services import tenants

    database, _, _, _ = prepare(settings_at(home))
    with database.write() as state:
        made = tenants.limit(state, name, Quota(max_concurrent_jobs, max_queued_jobs, max_domains))
    show(output, vars(made), [(field, value) for field, value in vars(made).items() if field != "budget"])


@app.command()
def budget(
    name: Name,
    images: Images = None,
    job_hours: JobHours = None,
    money: Money = None,
    warn_at: WarnAt = None,
    home: Home = None,
    output: Format = Output.TABLE,
) -> None:
    """Show what a tenant may use in a month, or change it as its own admins do; what is not named stays."""
    from udair_platform.bootstrap import prepare
    from udair_platform.contract.budgets import Budget
    from udair_platform.services import budgets, usage
    from udair_platform.services.change import Change

    settings, now = settings_at(home), datetime.now(UTC)
    database, _, _, _ = prepare(settings)
    prices = usage.prices_of(settings)
    if all(value is None for value in (images, job_hours, money, warn_at)):
        with database.read() as state:
            told(budgets.Ledger(state, now, prices).status(name), output)
        return
    with database.write() as state:
        tx = Change(state, "platform", now, prices=prices)
        wanted = Budget.model_validate(changed(state.tenants.get(name).budget, images, job_hours, money, warn_at))
        found = budgets.change(tx, name, wanted)
    told(found, output)
