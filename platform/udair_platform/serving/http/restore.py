"""From encoded bytes to encoded bytes: what every way into the data plane shares.

Images are decoded by processes that can be ended (`udair.data.door`), tenants in turn; what is on its way is
bounded in bytes. Nothing here but arithmetic happens on the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from udair.data.decoder import Decoded
from udair.data.door import DecodeDoor
from udair.data.encoding import ImageMetadata, OutputFormat, dropped, encode, encode_png16
from udair.data.images import DecodeLimits, ImageArray
from udair.errors import DoorBusy, ImageError
from udair_platform.errors import BadRequest, BodyTooLarge, Invalid, PlatformError, TooManyRequests, Unavailable
from udair_platform.http.tracing import Tracing
from udair_platform.serving.http import seen
from udair_platform.serving.http.room import Held, Room
from udair_platform.serving.model.replica import RestoredImage
from udair_platform.serving.observation.metrics import IngressMetrics
from udair_platform.serving.request import JPEG, PNG, PNG16, TIFF, WEBP, RestoreRequest

_FORMATS: dict[str, OutputFormat] = {PNG: "png", PNG16: "png", JPEG: "jpeg", WEBP: "webp", TIFF: "tiff"}
_TOO_LARGE = ("TOO_MANY_BYTES", "TOO_MANY_PIXELS")
# Of an image on its way: its pixels before and after; what the model takes is the engine's to count.
_BYTES_PER_PIXEL = 6
_MOST_DECODERS = 4

Infer = Callable[[RestoreRequest, ImageArray], Awaitable["RestoredImage | PlatformError"]]


@dataclass(frozen=True)
class RestoreResponse:
    """An encoded image and what is said about it.

    Attributes:
        sha256: Of `data`.
        seen: What is seen in the picture, in plain sentences, where that was asked for.
    """

    data: bytes
    media_type: str
    restored: RestoredImage
    sha256: str
    stages_s: dict[str, float] = field(default_factory=dict)
    dropped: str = ""
    seen: list[str] = field(default_factory=list)

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
            **({"X-Dropped": self.dropped} if self.dropped else {}),
        }


class RestoreService:
    """Restores encoded images.

    Args:
        infer: Restores pixels: a Serve handle, or a replica in a test.
        limits: Bounds on the encoded bytes and pixels of one image.
        door: Where images come in; one of its own if None.
        room: What all requests together may hold.
        patience_s: Longest that an image waits to be decoded and is.
        metrics: Where answers are counted.
        tracing: Where spans go.
    """

    def __init__(
        self,
        infer: Infer,
        limits: DecodeLimits,
        *,
        door: DecodeDoor | None = None,
        room: Room | None = None,
        patience_s: float = 30.0,
        metrics: IngressMetrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._infer, self.limits, self._patience_s = infer, limits, patience_s
        self.room = room or Room()
        cores = min(_MOST_DECODERS, max(2, len(os.sched_getaffinity(0))))
        self._door = door or DecodeDoor(cores + 1)
        # Threads that nothing else waits for: Python's own are for stores and keys.
        self._encoders = ThreadPoolExecutor(cores, thread_name_prefix="encode")
        self.metrics = metrics or IngressMetrics()
        self._tracing = tracing or Tracing("udair-ingress")

    def close(self) -> None:
        """End the processes that decode."""
        self._door.close()
        self._encoders.shutdown(wait=False, cancel_futures=True)

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
        with self.room.held(asked.name.partition("/")[0]) as held:
            return await self._held(data, asked, held)

    async def _held(self, data: bytes, asked: RestoreRequest, held: Held) -> RestoreResponse:
        began = time.perf_counter()
        held.add(len(data))
        with self._tracing.span("decode"):
            came = await self._decoded(data, asked.name.partition("/")[0])
        if asked.trial is not None:  # it may be shown to people who are not to know where and when it was taken
            came = replace(came, metadata=replace(came.metadata, exif=b""))
        height, width = came.image.shape[:2]
        held.add(_BYTES_PER_PIXEL * height * width)
        try:  # before the model runs
            word = dropped(came.metadata, width, height, format=_FORMATS[asked.media_type])
        except ImageError as error:
            raise _refusal(error) from error
        decoded = time.perf_counter()
        with self._tracing.span("infer"):
            restored = await self._infer(replace(asked, trace=self._tracing.traceparent()), came.image)
            if isinstance(restored, PlatformError):
                raise restored
        answered = time.perf_counter()
        with self._tracing.span("encode"):
            encoding = self._encoders.submit(_encoded, restored.image, came.metadata, asked)
            try:
                encoded, sha256 = await asyncio.wrap_future(encoding)
            except ImageError as error:
                raise _refusal(error) from error
        saw: list[str] = []
        if asked.describe:
            saw = await asyncio.wrap_future(self._encoders.submit(_seen, data, came.image, restored.image))
        stages = {
            "decode": decoded - began,
            "infer": answered - decoded,
            "queue": restored.queue_s,
            "forward": restored.forward_s,
            "encode": time.perf_counter() - answered,
        }
        return RestoreResponse(encoded, asked.media_type, restored, sha256, stages, word, saw)

    async def _decoded(self, data: bytes, tenant: str) -> Decoded:
        try:
            coming = self._door.submit(data, self.limits, tenant=tenant)
        except DoorBusy as error:
            raise TooManyRequests(str(error)) from error
        try:
            return await asyncio.wait_for(asyncio.wrap_future(coming), self._patience_s)
        except ImageError as error:
            raise _refusal(error) from error
        except DoorBusy as error:
            raise Unavailable(str(error)) from error
        except TimeoutError:
            raise Unavailable(
                f"The image was not decoded within {self._patience_s:g} s because of others; send it again a bit later."
            ) from None


def _encoded(image: Any, metadata: ImageMetadata, asked: RestoreRequest) -> tuple[bytes, str]:
    format = _FORMATS[asked.media_type]
    data = encode_png16(image) if asked.bits16 else encode(image, metadata, format=format, quality=asked.quality)
    return data, hashlib.sha256(data).hexdigest()


def _seen(data: bytes, came: ImageArray, left: ImageArray) -> list[str]:
    return [*seen.sentences(data, came), seen.changed(came, left)]


def _refusal(error: ImageError) -> PlatformError:
    return (BodyTooLarge if error.reason in _TOO_LARGE else Invalid)(f"{error.reason}: {error}")
