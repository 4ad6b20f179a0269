"""From encoded bytes to encoded bytes: what every way into the data plane shares.

Decoding is bounded in bytes, pixels and time, and all images on their way together in pixels: what
does not fit is refused at once, before a pixel of it is decoded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from udair.data.encoding import ImageMetadata, encode, encode_png16, read_metadata
from udair.data.images import DecodeLimits, ImageArray, decode
from udair.errors import ImageError
from udair_platform.errors import BadRequest, BodyTooLarge, Invalid, PlatformError, TooManyRequests
from udair_platform.http.tracing import Tracing
from udair_platform.serving.model.replica import RestoredImage
from udair_platform.serving.observation.metrics import IngressMetrics
from udair_platform.serving.request import JPEG, PNG, TIFF, WEBP, RestoreRequest

_FORMATS = {PNG: "png", JPEG: "jpeg", WEBP: "webp", TIFF: "tiff"}
_TOO_LARGE = ("TOO_MANY_BYTES", "TOO_MANY_PIXELS")


Infer = Callable[[RestoreRequest, ImageArray], Awaitable["RestoredImage | PlatformError"]]


@dataclass(frozen=True)
class RestoreResponse:
    """An encoded image and what is said about it."""

    data: bytes
    media_type: str
    restored: RestoredImage
    stages_s: dict[str, float] = field(default_factory=dict)

    def headers(self, base_name: str) -> dict[str, str]:
        """HTTP headers that say who answered, and where the time went."""
        timing = ", ".join(f"{name};dur={1000 * spent:.1f}" for name, spent in self.stages_s.items())
        return {
            "X-Adapter-Version": str(self.restored.version),
            "X-Base-Model": base_name,
            "X-Fallback": self.restored.fallback,
            "X-Tone": self.restored.tone,
            "X-Restoration": self.restored.restoration,
            "X-Batch": str(self.restored.batch),
            "X-Batch-Domains": str(self.restored.domains),
            "Server-Timing": timing,
        }


class RestoreService:
    """Restores encoded images.

    Args:
        infer: Restores pixels: a Serve handle, or a replica in a test.
        limits: Bounds on the encoded bytes and pixels of one image.
        max_open_pixels: Of all images on their way together.
        decode_timeout_s: Longest that decoding may take.
        metrics: Where answers are counted.
        tracing: Where spans go.
    """

    def __init__(
        self,
        infer: Infer,
        limits: DecodeLimits,
        *,
        max_open_pixels: int = 256_000_000,
        decode_timeout_s: float = 20.0,
        metrics: IngressMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._infer, self.limits, self._max_open = infer, limits, max_open_pixels
        self._decode_timeout_s = decode_timeout_s
        self.metrics = metrics or IngressMetrics()
        self._tracing = tracing or Tracing("udair-ingress")
        self._open = 0

    async def restore(self, data: bytes, asked: RestoreRequest) -> RestoreResponse:
        """Restore one encoded image.

        Raises:
            Invalid: The bytes are no image that can be restored.
            BodyTooLarge: It has too many bytes or pixels.
            TooManyRequests: Too much is on its way already.
            PlatformError: What the replica raised.
        """
        try:
            with self._tracing.span("restore", asked.trace, domain=asked.name, bytes=len(data)) as span:
                answer = await self._restore(data, asked)
                span.set_attribute("version", answer.restored.version)
                span.set_attribute("fallback", answer.restored.fallback)
        except PlatformError as error:
            self.metrics.answered(asked.name, error.status)
            raise
        restored = answer.restored
        self.metrics.answered(asked.name, 200, restored.fallback)
        self.metrics.restored(answer.stages_s, len(data), len(answer.data), restored.batch, restored.domains)
        return answer

    async def _restore(self, data: bytes, asked: RestoreRequest) -> RestoreResponse:
        if not data:
            raise BadRequest("The body is empty; send the bytes of one image, e.g. `--data-binary @image.jpg`.")
        began = time.perf_counter()
        metadata = self._header(data)
        with self._room(metadata):
            with self._tracing.span("decode"):
                image = await self._decoded(data)
            decoded = time.perf_counter()
            with self._tracing.span("infer"):
                restored = await self._infer(replace(asked, trace=self._tracing.traceparent()), image)
                if isinstance(restored, PlatformError):
                    raise restored
            answered = time.perf_counter()
            with self._tracing.span("encode"):
                encoded = await asyncio.to_thread(_encoded, restored.image, metadata, asked)
        stages = {
            "decode": decoded - began,
            "infer": answered - decoded,
            "queue": restored.queue_s,
            "forward": restored.forward_s,
            "encode": time.perf_counter() - answered,
        }
        return RestoreResponse(encoded, asked.media_type, restored, stages)

    def _header(self, data: bytes) -> ImageMetadata:
        if len(data) > self.limits.max_bytes:
            raise BodyTooLarge(f"The image has {len(data)} bytes; at most {self.limits.max_bytes} are read.")
        try:
            return read_metadata(data)
        except ImageError as error:
            raise _refusal(error) from error

    async def _decoded(self, data: bytes) -> ImageArray:
        try:
            return await asyncio.wait_for(asyncio.to_thread(decode, data, self.limits), self._decode_timeout_s)
        except ImageError as error:
            raise _refusal(error) from error
        except TimeoutError:
            raise Invalid(
                f"Decoding took more than {self._decode_timeout_s:g} s; save the image anew and send it again."
            ) from None

    @contextmanager
    def _room(self, metadata: ImageMetadata) -> Iterator[None]:
        width, height = metadata.size
        pixels = width * height
        if pixels <= self.limits.max_pixels and self._open and self._open + pixels > self._max_open:
            raise TooManyRequests(f"Images of {self._open} pixels are on their way already; send it again a bit later.")
        self._open += pixels
        try:
            yield
        finally:
            self._open -= pixels


def _encoded(image: Any, metadata: ImageMetadata, asked: RestoreRequest) -> bytes:
    if asked.bits16:
        return encode_png16(image)
    return encode(image, metadata, format=_FORMATS[asked.media_type], quality=asked.quality)  # type: ignore[arg-type]


def _refusal(error: ImageError) -> PlatformError:
    return (BodyTooLarge if error.reason in _TOO_LARGE else Invalid)(f"{error.reason}: {error}")
