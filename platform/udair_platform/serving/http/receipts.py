"""The receipt that goes with each picture: one HMAC over what made it and the SHA-256 of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from udair_platform.contract.receipts import Receipt
from udair_platform.serving.http.restore import RestoreResponse
from udair_platform.serving.request import RestoreRequest
from udair_platform.signing import Purpose, seal

HEADER = "X-Receipt"


class Receipts:
    """Writes receipts.

    Args:
        signing_key: The platform's.
        clock: Seconds since the epoch, UTC.
    """

    def __init__(self, signing_key: bytes, clock: Callable[[], float]) -> None:
        self._signing_key, self._clock = signing_key, clock

    def of(self, answer: RestoreResponse, asked: RestoreRequest, request_id: str) -> str:
        """The receipt of one answer."""
        tenant, _, domain = asked.name.partition("/")
        made = answer.restored
        receipt = Receipt(
            tenant=tenant,
            domain=domain,
            version=made.version,
            base_digest=made.base_digest,
            adapter_digest=made.adapter_digest,
            tone=made.tone,
            restoration=made.restoration,
            fallback=made.fallback,
            test_time=asked.test_time and made.restoration == "model",
            sha256=answer.sha256,
            request_id=request_id,
            time=datetime.fromtimestamp(self._clock(), UTC),
        )
        return seal(self._signing_key, Purpose.RECEIPT, receipt.model_dump_json().encode())
