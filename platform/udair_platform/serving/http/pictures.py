"""Where a request's picture comes from: its body, or an object of the domain's own bucket that its JSON names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

from fastapi import Request

from udair.data.images import DecodeLimits
from udair_jobs.errors import AccessDenied, InvalidKey, StorageError, TooLarge
from udair_jobs.errors import NotFound as NoObject
from udair_jobs.storage import Role, Storage, open_storage
from udair_platform.errors import BadRequest, BodyTooLarge, Forbidden, Invalid, NotFound, StoreDown, TooSlow
from udair_platform.serving.http.room import Held
from udair_platform.serving.routing.table import DomainRoute

JSON = "application/json"
# A key of S3 has 1024 bytes; as JSON, six characters for two of them.
_URI_BODY_BYTES = 8 * 2**10


class Pictures:
    """Reads the pictures of requests.

    Args:
        limits: Bounds on encoded bytes.
        endpoint_url: S3 endpoint of customers' buckets, if not AWS.
        body_timeout_s: A body that has not arrived after that long is refused.
    """

    def __init__(self, limits: DecodeLimits, endpoint_url: str | None, body_timeout_s: float) -> None:
        self._limits, self._endpoint_url, self._body_timeout_s = limits, endpoint_url, body_timeout_s

    async def body(
        self, request: Request, held: Held, most_bytes: int, look: Callable[[bytes], None] = lambda piece: None
    ) -> bytes:
        """The whole body; `look` sees each piece of it as it comes, and may refuse it.

        Raises:
            BodyTooLarge: It has more than `most_bytes`.
            TooSlow: It does not arrive.
        """
        body = bytearray()

        async def read() -> None:
            async for chunk in request.stream():
                if len(body) + len(chunk) > most_bytes:
                    raise BodyTooLarge(f"The body has more than {most_bytes} bytes, the most that is read here.")
                look(chunk)
                held.add(len(chunk))
                body.extend(chunk)

        try:
            await asyncio.wait_for(read(), self._body_timeout_s)
        except TimeoutError:
            raise TooSlow(f"The body had not arrived after {self._body_timeout_s:g} s.") from None
        return bytes(body)

    async def of(self, request: Request, held: Held, domain: str, route: Callable[[], DomainRoute]) -> bytes:
        """The encoded picture that the request holds or names.

        Args:
            route: Of `domain`: the only place that objects may be named in. May ask the store.
        """
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
            return await self.body(request, held, self._limits.max_bytes)
        body = await self.body(request, held, _URI_BODY_BYTES)
        return await asyncio.to_thread(self._fetched, body, domain, route)

    def _fetched(self, body: bytes, domain: str, find: Callable[[], DomainRoute]) -> bytes:
        """The image that a JSON body names: an object of the domain's own bucket, and nothing else."""
        try:
            uri = json.loads(body)["input_uri"]
            assert isinstance(uri, str)
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
            raise BadRequest(
                'The body is JSON without an input_uri; expected {"input_uri": "s3://bucket/key"}.'
            ) from None
        route, most = find(), self._limits.max_bytes
        source = route.source_uri
        prefix = f"{(source or '').rstrip('/')}/"
        key = uri.removeprefix(prefix)
        if source is None or key == uri or not key:
            raise Forbidden(f"{uri[:200]} is not below the source of {domain!r}, {source}; nothing else is read.")
        if source.startswith("file://") and Path(unquote(source[7:])).resolve() != Path(unquote(source[7:])):
            raise Forbidden(f"{source} is a link by now that leads elsewhere; nothing of it is read.")
        try:
            return _source(source, self._endpoint_url, route.source_role).get(key, max_bytes=most)
        except NoObject as error:
            raise NotFound(f"{uri[:200]} does not exist.") from error
        except TooLarge as error:
            raise BodyTooLarge(f"{uri[:200]} has more than {most} bytes, the most that is read.") from error
        except (InvalidKey, AccessDenied) as error:
            raise Invalid(f"{uri[:200]} cannot be read: {error}") from error
        except StorageError as error:
            raise StoreDown(f"{uri[:200]} cannot be read: {error}") from error


@lru_cache(maxsize=256)
def _source(uri: str, endpoint_url: str | None, role: Role | None) -> Storage:
    """A domain's bucket; a role is taken once for many requests, and again before it ends."""
    return open_storage(uri, endpoint_url=endpoint_url, role=role)
