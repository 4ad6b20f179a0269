"""Whose turn it is: tenants share the model's seconds, however many images each has sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from udair_platform.serving.model.ticket import Ticket

_LOW_COSTS = 8  # a second of the model for an image of low priority counts as so many


class Turns:
    """Least attained service: who has had the least of the model, of those that wait, is next.

    Images of low priority are a party of their own beside their tenant's others, and get an eighth of what another
    party gets while others wait: never nothing, so that they end. One that comes anew starts level with the least of the
    others, and is next: nobody saves up turns by not asking. Among images of one party the order stays as it was.
    """

    def __init__(self) -> None:
        self._had: dict[tuple[str, bool], float] = {}
        self._new: set[tuple[str, bool]] = set()  # have had nothing since they came

    def waiting(self, tickets: Iterable[Ticket]) -> None:
        """Only these wait now: who is not among them is forgotten."""
        tickets = list(tickets)
        parties = {ticket.party for ticket in tickets}
        self._had = {party: seconds for party, seconds in self._had.items() if party in parties}
        self._new &= parties
        for ticket in tickets:
            self.joins(ticket)

    def joins(self, ticket: Ticket) -> None:
        """One more that waits."""
        if ticket.party not in self._had:
            self._had[ticket.party] = min(self._had.values(), default=0.0)
            self._new.add(ticket.party)

    def goes_before(self, ticket: Ticket, running: Iterable[Ticket], seconds: float) -> bool:
        """Whether its party has had less than each of those that are being run, which have had `seconds` more by now."""
        return all(self._had[ticket.party] < self._had[other.party] + seconds for other in running)

    def order(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """The tickets, those of whoever has had the least first; at a tie those of low priority last, who is new first."""

        def place(ticket: Ticket) -> tuple[float, bool, bool]:
            return self._had.get(ticket.party, 0.0), ticket.low, ticket.party not in self._new

        return sorted(tickets, key=place)

    def took(self, ticket: Ticket, seconds: float) -> None:
        """The model has run for so many seconds on an image."""
        cost = seconds * (_LOW_COSTS if ticket.low else 1)
        self._had[ticket.party] = self._had.get(ticket.party, 0.0) + cost
        self._new.discard(ticket.party)
