"""What the shell offers for names: domains, and their versions. Whatever goes wrong, it offers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from udair_platform.client import Client

_DOMAINS, _VERSIONS = 50, 10
_WAIT_S = 3.0


def domains(ctx: Any, incomplete: str) -> list[str]:
    """Names of domains that begin so."""
    try:
        with _client(ctx) as client:
            return [one.name for one in client.domains.list(limit=1000) if one.name.startswith(incomplete)][:_DOMAINS]
    except Exception:  # a traceback in the middle of a line that is being typed helps nobody
        return []


def versions(ctx: Any, incomplete: str) -> list[str]:
    """``NAME@VERSION``, the newest first, then the aliases; also before the ``@``, where bash cuts a word."""
    name, _, begun = incomplete.partition("@")
    try:
        with _client(ctx) as client:
            known = [one for one in client.domains.list(limit=1000) if one.name.startswith(name)]
            if "@" in incomplete:
                known = [one for one in known if one.name == name]
            offered: list[str] = []
            for domain in known[:_VERSIONS]:
                names = [str(one.number) for one in domain.versions(limit=_VERSIONS)] + sorted(domain.aliases)
                offered += [f"{domain.name}@{one}" for one in names if one.startswith(begun)]
            return offered
    except Exception:  # as above
        return []


def _client(ctx: Any) -> Client:
    from udair_platform.client import Client

    return Client(home=(ctx.params or {}).get("home") or None, timeout_s=_WAIT_S)
