"""How often one bearer may ask, and how often one address may come with a bad key.

Counted in this process's memory over a moving minute: behind a load balancer each process counts for
itself. A good key is never refused for what its neighbours do with bad ones.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from udair_platform.errors import TooManyRequests


@dataclass(frozen=True)
class Standing:
    """Where a bearer stands.

    Attributes:
        remaining: Requests that it may still send now.
        reset_s: Until it may send one more, at the latest.
        exceeded: This request was one too many.
    """

    limit: int
    remaining: int
    reset_s: int
    exceeded: bool

    @property
    def headers(self) -> dict[str, str]:
        """What an answer says of it."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }


class RateLimits:
    """The counts of one application.

    Args:
        per_minute: Requests of one bearer; 0 is no limit.
        failures_per_minute: Refused keys of one address; 0 is no limit.
    """

    def __init__(self, per_minute: int, failures_per_minute: int) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._requests = RateLimitItemPerMinute(per_minute, namespace="requests") if per_minute else None
        self._failures = (
            RateLimitItemPerMinute(failures_per_minute, namespace="failures") if failures_per_minute else None
        )

    def count(self, bearer: str) -> Standing | None:
        """Count a request of `bearer`; where that leaves it, or None without a limit."""
        item = self._requests
        if item is None:
            return None
        exceeded = not self._limiter.hit(item, bearer)
        stats = self._limiter.get_window_stats(item, bearer)
        return Standing(item.amount, stats.remaining, _seconds_to(stats.reset_time), exceeded)

    def refused(self, address: str) -> None:
        """Count a bad key, or none, from `address`.

        Raises:
            TooManyRequests: The limit is reached.
        """
        item, network = self._failures, _network(address)
        if item is None or self._limiter.hit(item, network):
            return
        detail = f"More than {item.amount} requests without a good key came from this address within a minute."
        again = self._limiter.get_window_stats(item, network).reset_time
        raise TooManyRequests(detail, retry_after_s=_seconds_to(again))


def _network(address: str) -> str:
    """The address; of an IPv6 one its /64, because one machine has all of those."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    return str(parsed if parsed.version == 4 else ipaddress.ip_network((parsed, 64), strict=False))


def _seconds_to(moment: float) -> int:
    return max(1, round(moment - time.time() + 0.5))
