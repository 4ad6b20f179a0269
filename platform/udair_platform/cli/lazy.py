"""The commands there are, each loaded when it is asked for: help and completion must not wait for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

# name: (module.attribute, what help says). A test holds the help against the command's own.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "A platform": {
        "up": ("local.up", "Start a platform on this machine."),
        "demo": ("local.demo", "Play a customer through the whole journey."),
        "login": ("identity.login", "Keep a platform's address and your key as a profile."),
        "login-link": ("identity.login_link", "Print a link that logs a browser in to the console, once."),
        "logout": ("identity.logout", "Forget a profile."),
        "whoami": ("identity.whoami", "Which platform, tenant and key commands use here."),
        "status": ("status.status", "What needs somebody's attention now."),
        "doctor": ("doctor.doctor", "Check versions, disk, GPU, Ray, S3 and the platform."),
    },
    "Adapt": {
        "domain": ("domains.app", "Places to adapt to."),
        "snapshot": ("snapshots.app", "The images that jobs found."),
        "run": ("running.run", "Adapt the model to a domain and let the gate judge."),
        "job": ("jobs.app", "Adaptation jobs."),
        "version": ("versions.app", "Adapter versions, before and after."),
        "promote": ("promotion.promote", "Let a version serve its domain."),
        "rollback": ("promotion.rollback", "Let the version that served before serve again."),
        "alias": ("aliases.app", "Names that point at versions, with their history."),
    },
    "Serve": {
        "restore": ("images.restore", "Restore an image, a folder of them, or stdin."),
        "receipt": ("receipts.app", "Receipts of pictures: what made them, signed."),
        "route": ("routes.app", "Canaries, shadows and pinned adapters of a domain."),
        "endpoint": ("endpoint.app", "The data plane that serves every domain."),
        "drift": ("traffic.drift", "Whether a domain's images still look like those adapted to."),
        "cost": ("traffic.cost", "What each domain has had restored and adapted."),
        "budget": ("budget.app", "What a month may cost, and what it has."),
    },
    "Without a platform": {
        "batch": ("offline.batch", "Restore every image below a prefix into another."),
        "sweep": ("offline.app", "Search hyperparameters over one domain's images."),
    },
    "Operate": {
        "events": ("events.events", "The audit log, oldest first."),
        "key": ("keys.app", "API keys."),
        "webhook": ("webhooks.app", "Where events are sent."),
        "deploy": ("deploy.app", "A platform on Kubernetes, from one settings file."),
        "admin": ("admin.app", "For who runs the platform."),
    },
}


class Commands(Mapping[str, Any]):
    """Commands by name; reading one imports it."""

    def __init__(self) -> None:
        self._places = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            module, attribute = self._places[name].split(".")
            self._loaded[name] = _command(name, getattr(import_module(f"udair_platform.cli.{module}"), attribute))
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class LazyGroup(TyperGroup):
    """The root command."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": {}})
        # The group only reads them, so that a mapping which imports on reading will do for its dictionary.
        self.commands = Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name."""
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """A section a kind of command."""
        widest = max(map(len, self.commands))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{widest}}", message) for name, (_, message) in section.items()])


def _command(name: str, found: Any) -> Any:
    if not isinstance(found, typer.Typer):
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(name)(found)
        return typer.main.get_command(app)
    found._add_completion, found.rich_markup_mode = False, None
    command = typer.main.get_command(found)
    command.name = name
    for one in getattr(command, "commands", {}).values():  # click cuts what it shortens itself
        one.short_help = re.split(r"(?<=[.])\s", " ".join((one.help or "").split()))[0]
    return command
