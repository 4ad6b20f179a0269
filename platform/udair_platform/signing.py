"""What the platform signs: HMAC-SHA256 under its signing key, with a prefix of its own for every purpose.

No prefix begins another, so what is signed for one purpose is never good for a second. The number in a
prefix changes with the format behind it; to change one is to refuse everything that was signed with it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from enum import StrEnum


class Purpose(StrEnum):
    """What a signature is for: the bytes that come before what is signed."""

    API_KEY = "udair-key-1."
    PAGE_TOKEN = "udair-page-2."  # noqa: S105 - a prefix, no secret
    PAGE_MASK = "udair-page-mask-1."
    CONSOLE_SESSION = "udair-console-1."
    CONSOLE_LOGIN = "udair-login-1."
    CONSOLE_FORM = "udair-form-1."
    UPLOAD = "udair-upload-1."
    TRIAL = "udair-trial-1."
    SHARE = "udair-share-1."
    EXPORT = "udair-export-1."
    RECEIPT = "udair-receipt-1."
    WEBHOOK = "udair-webhook-1/"


def sign(signing_key: bytes, purpose: Purpose, message: bytes) -> bytes:
    """The 32 bytes that only a holder of `signing_key` can make of `message` for this purpose."""
    return hmac.new(signing_key, purpose.encode() + message, hashlib.sha256).digest()


def same(expected: bytes, given: bytes) -> bool:
    """Whether the two are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(expected, given)


def seal(signing_key: bytes, purpose: Purpose, body: bytes, *, bound_to: bytes = b"", size: int = 32) -> str:
    """`body` behind the first `size` bytes of its signature, in base64url; it can be read by anybody.

    Args:
        bound_to: What it shall be good with; it is signed and not contained.
    """
    return encode(sign(signing_key, purpose, bound_to + body)[:size] + body)


def unseal(signing_key: bytes, purpose: Purpose, token: str, *, bound_to: bytes = b"", size: int = 32) -> bytes | None:
    """The body that `seal` was given; None for whatever else `token` may be."""
    try:
        data = decode(token)
    except ValueError:
        return None
    mac, body = data[:size], data[size:]
    return body if same(sign(signing_key, purpose, bound_to + body)[:size], mac) else None


def encode(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(encoded: str) -> bytes:
    """What `encode` was given. Raises ValueError for whatever `encode` does not write: a token has one text."""
    data = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if encode(data) != encoded:
        raise ValueError("not the base64url text of its bytes")
    return data
