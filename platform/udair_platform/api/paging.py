"""Pages in the manner of AIP-158: opaque tokens that fit one list and one filter only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from udair_platform.api.context import context_of
from udair_platform.errors import BadRequest, FieldError
from udair_platform.signing import Purpose, seal, unseal

T = TypeVar("T")
DEFAULT_SIZE, MAX_SIZE = 50, 1000
_MAC_BYTES = 12


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
        body = json.dumps(after).encode()
        return seal(self.key, Purpose.PAGE_TOKEN, body, bound_to=self.binding, size=_MAC_BYTES)


def page_of(
    request: Request,
    page_size: Annotated[int, Query(description=f"at most {MAX_SIZE}; 0 means {DEFAULT_SIZE}")] = 0,
    page_token: Annotated[str, Query(max_length=512)] = "",
) -> Page:
    """The page that the request asks for.

    Raises:
        BadRequest: A negative size, or a token that is not ours or of another list or filter.
    """
    if page_size < 0:
        raise _bad("page_size", f"page_size is {page_size}; expected 0 to {MAX_SIZE}.")
    filters = sorted((k, v) for k, v in request.query_params.items() if k not in ("page_size", "page_token"))
    binding = hashlib.sha256(json.dumps([request.url.path, filters]).encode()).digest()
    key = context_of(request).signing_key
    after = _after(page_token, key, binding) if page_token else None
    return Page(after, min(page_size or DEFAULT_SIZE, MAX_SIZE), binding, key)


Paged = Annotated[Page, Depends(page_of)]


def _after(token: str, key: bytes, binding: bytes) -> int:
    body = unseal(key, Purpose.PAGE_TOKEN, token, bound_to=binding, size=_MAC_BYTES)
    if body is None:
        raise _bad("page_token", "page_token is not of this list and filter; leave it out to start again.")
    return int(json.loads(body))


def _bad(name: str, detail: str) -> BadRequest:
    return BadRequest(detail, errors=[FieldError(f"/query/{name}", detail)])
