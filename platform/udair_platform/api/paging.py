"""Pages in the manner of AIP-158: opaque tokens that fit one tenant, list and filter only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from udair_platform.api.context import context_of
from udair_platform.api.principal import authenticate
from udair_platform.errors import BadRequest, FieldError
from udair_platform.signing import Purpose, decode, encode, same, sign

T = TypeVar("T")
DEFAULT_SIZE, MAX_SIZE = 50, 1000
_MAC_BYTES, _PLACE_BYTES = 12, 8


@dataclass(frozen=True)
class Page:
    """Where a list begins and how much of it is wanted."""

    after: int | None
    size: int
    binding: bytes
    key: bytes

    def cut(self, items: Sequence[T], position: Callable[[T], int]) -> tuple[list[T], str]:
        """Of `size + 1` items asked for, those of this page, and the token of the next ('' at the end)."""
        shown = list(items[: self.size])
        return shown, self._token(position(shown[-1])) if len(items) > self.size else ""

    def _token(self, after: int) -> str:
        # Positions count what all tenants do: they are hidden behind a mask that follows from their signature.
        place = after.to_bytes(_PLACE_BYTES, "big")
        mac = sign(self.key, Purpose.PAGE_TOKEN, self.binding + place)[:_MAC_BYTES]
        return encode(mac + _masked(self.key, mac, place))


def page_of(
    request: Request,
    page_size: Annotated[int, Query(description=f"at most {MAX_SIZE}; 0 means {DEFAULT_SIZE}")] = 0,
    page_token: Annotated[str, Query(max_length=512)] = "",
) -> Page:
    """The page that the request asks for.

    Raises:
        BadRequest: A negative size, or a token that is not ours or of another tenant, list or filter.
    """
    if page_size < 0:
        raise _bad("page_size", f"page_size is {page_size}; expected 0 to {MAX_SIZE}.")
    filters = sorted((k, v) for k, v in request.query_params.items() if k not in ("page_size", "page_token"))
    binding = hashlib.sha256(json.dumps([authenticate(request).tenant, request.url.path, filters]).encode()).digest()
    key = context_of(request).signing_key
    after = _after(page_token, key, binding) if page_token else None
    return Page(after, min(page_size or DEFAULT_SIZE, MAX_SIZE), binding, key)


Paged = Annotated[Page, Depends(page_of)]


def _after(token: str, key: bytes, binding: bytes) -> int:
    try:
        data = decode(token)
    except ValueError:
        data = b""
    mac = data[:_MAC_BYTES]
    place = _masked(key, mac, data[_MAC_BYTES:])
    if len(place) != _PLACE_BYTES or not same(sign(key, Purpose.PAGE_TOKEN, binding + place)[:_MAC_BYTES], mac):
        raise _bad("page_token", "page_token is not of this list and filter; leave it out to start again.")
    return int.from_bytes(place, "big")


def _masked(key: bytes, mac: bytes, place: bytes) -> bytes:
    mask = sign(key, Purpose.PAGE_MASK, mac)
    return bytes(a ^ b for a, b in zip(place, mask, strict=False))


def _bad(name: str, detail: str) -> BadRequest:
    return BadRequest(detail, errors=[FieldError(f"/query/{name}", detail)])
