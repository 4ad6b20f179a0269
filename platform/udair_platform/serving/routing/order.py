"""In which order the replicas answer for a domain: the same for whoever sends requests and whoever holds adapters."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def ordered(domain: str, replicas: Iterable[str]) -> list[str]:
    """The replicas, by their ids, the one that is asked first at the front.

    Of two replicas the same one is before the other whoever else there is: one that goes leaves its place to the next.
    """
    return sorted(replicas, key=lambda replica: blake2b(f"{replica} {domain}".encode(), digest_size=8).digest())


def holders(domain: str, replicas: Iterable[str], min_ready: int) -> list[str]:
    """Those that have the domain's adapters before they are asked: the first `min_ready`, and the successor of any of them."""
    return ordered(domain, replicas)[: min_ready + 1]
