"""What one version of a domain restored in one stretch of time, over all replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from udair_platform.entities.latency import together
from udair_platform.entities.text import Id, TenantId

MINUTE_S, HOUR_S = 60, 3600


@dataclass(frozen=True)
class Served:
    """A minute, or an hour that minutes were put together to.

    Attributes:
        begin_time: A whole minute, or a whole hour.
        span_s: 60 or 3600.
        version: That answered; 0 is the base model.
        images: Restored.
        errors: Not restored: the backbone was too busy, too late, or failed.
        latency: How long the restored ones waited and were worked on: `udair_platform.entities.latency`.
    """

    domain_id: Id
    tenant: TenantId
    span_s: int
    begin_time: datetime
    version: int
    images: int
    errors: int
    latency: Mapping[str, int]

    @property
    def key(self) -> tuple[str, int, datetime, int]:
        """What there is one of."""
        return self.domain_id, self.span_s, self.begin_time, self.version

    def plus(self, other: Served) -> Served:
        """This with another of the same key added."""
        return replace(
            self,
            images=self.images + other.images,
            errors=self.errors + other.errors,
            latency=together((self.latency, other.latency)),
        )
