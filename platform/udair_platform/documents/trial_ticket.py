"""What lets the data plane restore one picture with a version that need not serve: signed by the control plane.

A ticket carries an entry as routes.json has them, for the request that shows it alone: the base model before there is
any domain, a candidate before it is promoted. It is good for minutes and never leaves the platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from udair_platform.errors import Unauthenticated
from udair_platform.signing import Purpose
from udair_platform.tickets import Forged, Over, Tickets

GOOD_FOR = timedelta(minutes=5)


@dataclass(frozen=True)
class TrialTicket:
    """Who tries, and what.

    Attributes:
        tenant: Whose share of the data plane's room the picture takes.
        domain: Whose pictures may be named; empty for none.
        entry: What answers, as in routes.json.
    """

    tenant: str
    domain: str
    entry: Mapping[str, Any]

    def given(self, tickets: Tickets) -> str:
        """The ticket, good for `GOOD_FOR`."""
        token, _ = tickets.give(Purpose.TRIAL, [self.tenant, self.domain, dict(self.entry)], GOOD_FOR)
        return token

    @classmethod
    def opened(cls, tickets: Tickets, token: str) -> TrialTicket:
        """What was `given`.

        Raises:
            Unauthenticated: It is none of ours, or its time is over.
        """
        try:
            (tenant, domain, entry), _ = tickets.open(Purpose.TRIAL, token)
        except Forged:
            raise Unauthenticated(
                "This is no ticket for a trial; the console's page /console/try makes them."
            ) from None
        except Over as over:
            raise Unauthenticated(f"The ticket was {over}; try the picture again.") from None
        return cls(tenant, domain, entry)
