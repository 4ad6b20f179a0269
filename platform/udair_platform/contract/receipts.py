"""Receipts: what the data plane signs about each picture that it answers with."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Self

from pydantic import Field

from udair.config import Tone
from udair_platform.contract.value import Value
from udair_platform.signing import decode

MAX_CHARS = 4096
SIGNATURE_BYTES = 32


class Receipt(Value):
    """What made one picture. It travels as text: a signature that only the platform can make, then these facts as JSON.

    Anybody can read it; whether the platform made it, only the platform can tell (`Client.verify_receipt`).
    """

    tenant: str
    domain: str
    version: int = Field(description="of the adapter that made it; 0: the base model")
    base_digest: str
    adapter_digest: str | None = Field(description="of what made it, where an adapter did")
    tone: Tone
    restoration: str = Field(description="model, or none for a picture that was served as it came")
    fallback: str = Field(description="none, previous or source")
    test_time: bool = Field(description="whether the adapter was also fitted to this one picture")
    sha256: str = Field(description="of the bytes of the answer")
    request_id: str = Field(description="of the request, or of the prediction")
    time: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """What a receipt says, before anybody checked its signature.

        Raises:
            ValueError: It is no receipt.
        """
        if len(text) > MAX_CHARS:
            raise ValueError(f"A receipt has at most {MAX_CHARS} characters; these are {len(text)}.")
        try:
            return cls.model_validate_json(decode(text.strip())[SIGNATURE_BYTES:])
        except ValueError:
            raise ValueError(f"{text[:20]!r}… is no receipt; expected the answer's header X-Receipt, whole.") from None

    def matches(self, image: bytes) -> bool:
        """Whether `image` is, byte for byte, the answer that the receipt was made for."""
        return hashlib.sha256(image).hexdigest() == self.sha256


class ReceiptCheck(Value):
    """What the platform says to a receipt: whether it is its own, and what is known of that version now."""

    genuine: bool = Field(description="whether this platform signed it")
    receipt: Receipt | None = Field(description="what it says; null where it is not genuine")
    agrees: bool | None = Field(
        description="whether the version's digests are those of the receipt; null: it is unknown"
    )
    state: str | None = Field(description="of the version now")
    verdict: str | None = Field(description="of the gate, on the version")
    adapter_digest: str | None = Field(description="of the version, as the platform keeps it")
    base_digest: str | None = Field(description="of the base model that the version is for, as the platform keeps it")
    detail: str = Field(description="the answer in a sentence")
