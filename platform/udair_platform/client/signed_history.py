"""An export of what served when, with the signature of the platform that made it."""

from __future__ import annotations

from typing import NamedTuple

from udair_platform.contract.serving_history import ServedHistory


class SignedHistory(NamedTuple):
    """The export's bytes, and what proves that they are the platform's: keep both (`Client.verify_history`)."""

    data: bytes
    signature: str

    def history(self) -> ServedHistory:
        """The export as values. Raises ValueError if it was asked for as CSV."""
        return ServedHistory.model_validate_json(self.data)
