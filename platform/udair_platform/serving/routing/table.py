"""Which adapter serves which domain: routes.json, parsed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from udair.config import Tone, check_tone
from udair_jobs.storage import Role
from udair_platform.errors import Invalid


@dataclass(frozen=True)
class Target:
    """One version of a domain's model.

    Attributes:
        version: Adapter version; 0 is the source model.
        adapter_digest: SHA-256 of the adapter, None for the source model.
        candidate_uri: Folder of the adapter in the platform's store.
        tone: The intent that it must have been made for.
        out_of_use: Why the version that was promoted does not answer, and the base model does; empty if it does.
    """

    version: int
    adapter_digest: str | None = None
    candidate_uri: str | None = None
    tone: Tone = "keep"
    out_of_use: str = ""

    @property
    def row_name(self) -> str | None:
        """Name of its row among those that are resident: the adapter, as one of this tone; None for the source model."""
        return self.adapter_digest and f"{self.adapter_digest}:{self.tone}"


SOURCE = Target(0)


@dataclass(frozen=True)
class RoutedShare:
    """A version that takes part of a domain's traffic, 0 to 100 percent of it.

    Attributes:
        judged: What it restores is compared with what the champion does.
    """

    target: Target
    percent: float
    judged: bool = False

    def takes(self, key: str) -> bool:
        """Whether the request with this key falls into the share; the same key always answers the same."""
        salted = f"{self.target.version}.{key}".encode()
        return int.from_bytes(hashlib.sha256(salted).digest()[:8], "big") / 2**64 * 100 < self.percent


@dataclass(frozen=True)
class DomainRoute:
    """What serves one domain.

    Attributes:
        champion: Serves what no canary takes.
        canary: Serves its share of the requests.
        shadow: Restores its share of the requests a second time, to be compared; never answers.
        pinned: The adapters stay resident.
        min_ready: Replicas that have the adapters before they are asked for them.
        source_uri: Where the domain's images are: the only place that requests may name images in.
        source_role: Whose rights they are read with, if not the endpoint's own.
        profile_uri: Folder of the `profile.json` that traffic is compared with.
        tone: The domain's intent.
        passthrough: Why images that no adapter is for are served as they came; empty if they are restored.
    """

    champion: Target = SOURCE
    canary: RoutedShare | None = None
    shadow: RoutedShare | None = None
    pinned: bool = False
    min_ready: int = 0
    source_uri: str | None = None
    source_role: Role | None = None
    profile_uri: str | None = None
    tone: Tone = "keep"
    passthrough: str = ""

    def choose(self, key: str) -> Target:
        """The version that answers the request with this key."""
        return self.canary.target if self.canary and self.canary.takes(key) else self.champion

    def tone_of(self, asked: Tone | None, target: Target) -> Tone:
        """The intent of a request that asks for one, or for none; an adapter answers with its own only.

        Raises:
            Invalid: The adapter of `target` was made for the other.
        """
        if asked is None or asked == self.tone or target.adapter_digest is None:
            return asked or self.tone
        raise Invalid(
            f"tone is {asked!r}; version {target.version} was made for {self.tone!r}. Leave tone out, or set the "
            f"domain's tone to {asked!r} and adapt it again."
        )

    @property
    def held(self) -> bool:
        """Whether there are replicas that have its adapters before they are asked for them."""
        return self.pinned or self.min_ready > 0

    @property
    def answering(self) -> list[Target]:
        """Every version that answers requests, the champion first."""
        return [self.champion, *([self.canary.target] if self.canary else [])]

    @property
    def targets(self) -> list[Target]:
        """Every version that may be loaded for the domain."""
        return [self.champion, *(share.target for share in (self.canary, self.shadow) if share)]

    @classmethod
    def parse(cls, entry: dict[str, Any]) -> DomainRoute:
        """Read one entry of the document; KeyError, TypeError or ValueError if it is none."""

        def share(name: str) -> RoutedShare | None:
            found = entry.get(name)
            if not found:
                return None
            return RoutedShare(_target(found, tone), float(found["percent"]), bool(found.get("judged", False)))

        arn, tone = entry.get("source_role_arn"), check_tone(str(entry.get("tone", "keep")))
        return cls(
            _target(entry, tone),
            share("canary"),
            share("shadow"),
            bool(entry.get("pinned", False)),
            int(entry.get("min_ready", 0)),
            entry.get("source_uri"),
            Role(arn, entry.get("source_external_id")) if arn else None,
            entry.get("profile_uri"),
            tone,
            str(entry.get("passthrough", "")),
        )


@dataclass(frozen=True)
class RouteTable:
    """One generation of routes.json, parsed.

    Attributes:
        generation: Grows with every change.
        base_digest: Of the base model that the routes were made for.
        routes: ``tenant/domain`` to `Route`.
        revoked: From when on keys are refused, seconds since the epoch, by their names.
    """

    generation: int
    base_digest: str
    routes: dict[str, DomainRoute]
    revoked: Mapping[str, float]

    @classmethod
    def parse(cls, document: dict[str, Any], shards: Iterable[Mapping[str, DomainRoute]]) -> RouteTable:
        """Read a document and what is in its shards; KeyError, TypeError or ValueError if it is none."""
        routes: dict[str, DomainRoute] = {}
        for shard in shards:
            routes |= shard
        base = document["base_model"]
        return cls(int(document["generation"]), str(base["digest"]), routes, _revoked(document["revoked_keys"]))


def shard_keys(document: dict[str, Any]) -> list[str]:
    """Where a document's domains are; KeyError, TypeError or AttributeError if it is none."""
    return [str(shard["key"]) for shard in document["shards"].values() if shard["key"]]


def parse_shard(data: bytes) -> dict[str, DomainRoute]:
    """One shard; KeyError, TypeError or ValueError if it is none."""
    return {name: DomainRoute.parse(entry) for name, entry in json.loads(data).items()}


def _target(entry: dict[str, Any], tone: Tone) -> Target:
    return Target(
        int(entry["version"]), entry["adapter_digest"], entry["candidate_uri"], tone, str(entry.get("out_of_use", ""))
    )


def _revoked(keys: dict[str, float] | list[str]) -> Mapping[str, float]:
    # An older control plane lists names.
    return dict.fromkeys(keys, 0.0) if isinstance(keys, list) else {kid: float(time) for kid, time in keys.items()}
