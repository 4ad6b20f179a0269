"""The door that a job's images come in by; one for each process, begun by its first image."""

from __future__ import annotations

import functools

from udair.data.decoder import Decoded
from udair.data.door import DecodeDoor
from udair.data.images import DecodeLimits
from udair_jobs.runtime.threads import thread_count
from udair_jobs.specs import LimitsSpec

# More decoders than cores are no faster, and each may hold a whole image. The job is the door's one tenant, which
# has all processes but one.
_MEMORY_BYTES = 3 * 2**30
_WAITING = 1024  # the callers are threads that wait: a job asks for no more than it has of these


def limits_of(limits: LimitsSpec) -> DecodeLimits:
    """What a job's spec is willing to decode."""
    return DecodeLimits(max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels)


def decode(data: bytes, limits: DecodeLimits) -> Decoded:
    """Decode one image in a process that can be ended.

    Raises:
        ImageError: With `.reason` from `udair.data.images.REASONS`.
        DoorBusy: Nothing is wrong with the image; a retry may have more room.
    """
    return _door().decode(data, limits)


@functools.cache
def _door() -> DecodeDoor:
    return DecodeDoor(max(2, thread_count()) + 1, waiting=_WAITING, memory_bytes=_MEMORY_BYTES)
