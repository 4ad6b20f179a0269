"""Whether what was promoted can answer: the base model or the domain's intent may have changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from udair_platform.documents import routes
from udair_platform.entities.alias import CHAMPION, Alias
from udair_platform.entities.domain import Domain
from udair_platform.entities.version import AdapterVersion
from udair_platform.state.repositories import State


def out_of_use(state: State, domain: Domain, version: AdapterVersion) -> str:
    """Why `version` cannot answer for `domain` now, or nothing."""
    return routes.out_of_use(version.number, version.base_digest, version.tone, domain.tone, state.bases.current())


def champions_out_of_use(
    state: State, aliases: Mapping[str, Sequence[Alias]], domains: Sequence[Domain]
) -> dict[str, str]:
    """By domain id: why the version that was promoted does not answer. Domains where it does are not named.

    Args:
        aliases: Of each of the domains, by its id.
    """
    reasons: dict[str, str] = {}
    for tenant in {domain.tenant for domain in domains}:
        mine = {domain.id: domain for domain in domains if domain.tenant == tenant}
        promoted = [(id, alias.version) for id in mine for alias in aliases[id] if alias.name == CHAMPION]
        for (id, _), version in state.versions.many(tenant, promoted).items():
            if why := out_of_use(state, mine[id], version):
                reasons[id] = why
    return reasons
