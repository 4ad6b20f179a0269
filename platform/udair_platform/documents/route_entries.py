"""What the data plane is told of one domain, and why a version that was promoted may not answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from udair_platform.contract.domains import Share
from udair_platform.entities.alias import CHAMPION, Alias
from udair_platform.entities.domain import SOURCE_VERSION, Domain
from udair_platform.entities.intent import Intent
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.entities.version import AdapterVersion
from udair_platform.state.repositories import ALL_TENANTS, State
from udair_platform.state.repositories.routing import Routed, shard_of

_Target = dict[str, Any]
_SOURCE = {"version": SOURCE_VERSION, "adapter_digest": None, "candidate_uri": None}


def entries(state: State, shards: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """By shard, what each living domain is served with, by ``tenant/domain``.

    A version that was made for another base model, or another intent, is out of use: its domain is routed to the
    base model, and the entry says why.

    Args:
        shards: Of these alone.
    """
    base = state.bases.current()
    routed = state.routing.all(shards)
    shares = [(item.domain_id, share.version) for item in routed for share in item.traffic.shares]
    found = state.versions.many(ALL_TENANTS, shares)
    made: dict[str, dict[str, Any]] = {}
    for item in routed:
        champion = _target(item, item.made_for, item.intent, base)
        made.setdefault(shard_of(item.domain_id), {})[f"{item.tenant}/{item.name}"] = {
            **champion,
            "canary": _canary(item, found, base),
            "shadow": _share(item, item.traffic.shadow, found, base),
            "pinned": item.traffic.pinned,
            "min_ready": item.traffic.min_ready,
            "tone": item.tone,
            "passthrough": item.passthrough,
            **_place(item),
            # A domain that the source model serves is compared with what its newest job saw.
            "profile_uri": champion["candidate_uri"] or item.newest_uri,
        }
    return made


def alone(domain: Domain | None, version: AdapterVersion | None, base: RegisteredModel | None) -> dict[str, Any]:
    """An entry by which one version of a domain answers, with its own intent; the base model with None.

    Where it was made for another base model, the entry says so (`out_of_use`).
    """
    target = dict(_SOURCE) if version is None else _target(version, version.intent, version.intent, base)
    intent = version.intent if version else domain.intent if domain else Intent()
    return target | {"tone": intent.tone, "passthrough": "", **(_place(domain) if domain else {})}


def _place(domain: Domain | Routed) -> dict[str, Any]:
    """Where its images are, and with whose rights they are read."""
    role = domain.source_role_arn
    return {
        "source_uri": domain.source_uri,
        "source_role_arn": role,
        "source_external_id": domain.external_id if role else None,
    }


def out_of_use(domain: Domain, version: AdapterVersion, base: RegisteredModel | None) -> str:
    """Why `version` cannot answer for `domain` while `base` is the base model, or nothing."""
    return _out_of_use(version.number, version.base_digest, version.intent, domain.intent, base)


def champions_out_of_use(
    state: State, aliases: Mapping[str, Sequence[Alias]], domains: Sequence[Domain]
) -> dict[str, str]:
    """By domain id: why the version that was promoted does not answer. Domains where it does are not named.

    Args:
        aliases: Of each of the domains, by its id.
    """
    promoted = {id: alias.version for id, held in aliases.items() for alias in held if alias.name == CHAMPION}
    adapted = [one for one in domains if promoted.get(one.id, SOURCE_VERSION) != SOURCE_VERSION]
    reasons: dict[str, str] = {}
    base = state.bases.current() if adapted else None
    for tenant in {domain.tenant for domain in adapted}:
        mine = {domain.id: domain for domain in adapted if domain.tenant == tenant}
        for (id, _), version in state.versions.many(tenant, [(id, promoted[id]) for id in mine]).items():
            if why := out_of_use(mine[id], version, base):
                reasons[id] = why
    return reasons


def why_stopped(item: Routed, base: RegisteredModel | None) -> str:
    """Why the version that was promoted does not answer for a domain, or nothing."""
    return _out_of_use(item.number, item.base_digest, item.made_for, item.intent, base) if item.number else ""


def _out_of_use(
    number: int, base_digest: str | None, made_for: Intent, wanted: Intent, base: RegisteredModel | None
) -> str:
    """Why version `number`, made for a base model and an intent, cannot answer for a domain that wants another; or nothing.

    The one judge, for the document, the API, the console and the command line.
    """
    if base is None or base_digest != base.digest:
        serves = f"{base.name} ({base.digest[:12]}) serves" if base else "there is none"
        return f"version {number} was made for base model {(base_digest or '')[:12]}, and {serves}"
    why = wanted.differs(made_for)
    return f"version {number} {why}" if why else ""


def _target(
    version: Routed | AdapterVersion, made_for: Intent, wanted: Intent, base: RegisteredModel | None
) -> _Target:
    if version.number is None:
        return dict(_SOURCE)
    why = _out_of_use(version.number, version.base_digest, made_for, wanted, base)
    if why:
        return _SOURCE | {"out_of_use": why}
    return {"version": version.number, "adapter_digest": version.adapter_digest, "candidate_uri": version.candidate_uri}


def _canary(
    item: Routed, found: Mapping[tuple[str, int], AdapterVersion], base: RegisteredModel | None
) -> dict[str, Any] | None:
    share = _share(item, item.traffic.canary, found, base)
    return share and share | ({"judged": True} if item.traffic.canary_auto_rollback else {})


def _share(
    item: Routed, share: Share | None, found: Mapping[tuple[str, int], AdapterVersion], base: RegisteredModel | None
) -> dict[str, Any] | None:
    if share is None:
        return None
    version = found.get((item.domain_id, share.version))
    return (dict(_SOURCE) if version is None else _target(version, version.intent, item.intent, base)) | {
        "percent": share.percent
    }
