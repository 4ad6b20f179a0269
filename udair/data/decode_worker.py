"""A process that decodes: numpy and Pillow, one image at a time, under limits that the kernel keeps.

`udair.data.door` starts it, hands it bytes, and may kill it at any moment. What comes and goes, over a socket of
packets; bytes and pixels travel as memory that both sides map:

    door    {"limits": {...}}                   with the encoded bytes
    worker  {"cost_bytes": n}                   the header is within the limits; decoding takes about that much
    door    {}                                  go on
    worker  {"shape": [h, w, 3], ...}           with pixels, EXIF and colour profile
    worker  {"reason": ..., "detail": ...}      instead of either

The limit on memory is what the header explains: a picture that takes more of it lied about its size.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import socket
import sys
import time
from typing import Any

import numpy as np
from PIL import Image

from udair.data.encoding import metadata_of
from udair.data.images import DecodeLimits, ImageArray, check_size, opened, pixels_of
from udair.data.structure import declared_size
from udair.errors import ImageError

PACKET_BYTES = 16 * 2**10
_FLAT_BYTES = 48 * 2**20
_HEADER_BYTES = 160 * 2**20  # Pillow unpacks texts of 64 MiB at most
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Serve the socket whose number is the one argument, until its other end closes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=int(sys.argv[1])) as door:
        _plugins()
        _say(door, {"ready": os.getpid()})
        while _one(door):
            pass


def cost_bytes(size: tuple[int, int], mode: str = "") -> int:
    """What decoding takes at its peak: measured for each kind, with a quarter to spare."""
    return _FLAT_BYTES + (20 if mode in ("L", "RGB") else 36) * size[0] * size[1]


def _plugins() -> None:
    Image.preinit()
    Image.init()


def _one(door: socket.socket) -> bool:
    packet, fds, _, _ = socket.recv_fds(door, PACKET_BYTES, 1)
    if not packet:
        return False
    data = _mapped(fds[0])
    limits = DecodeLimits(**json.loads(packet)["limits"])
    try:
        declared = declared_size(data)
        if declared is not None:
            check_size(declared, limits)
            if not _let_in(door, cost_bytes(declared), limits):
                return False
        else:
            _bound(_HEADER_BYTES + 4 * len(data), limits.processor_s)
        with opened(data, limits) as image:
            if declared is None and not _let_in(door, cost_bytes(image.size, image.mode), limits):
                return False
            pixels = pixels_of(image)
            metadata = metadata_of(image)
        parts = [metadata.exif, metadata.icc_profile]
        answer: dict[str, Any] = {
            "shape": pixels.shape,
            "format": metadata.format,
            "size": metadata.size,
            "parts": [len(part) for part in parts],
        }
        fd = _written(pixels, parts)
    except ImageError as error:
        _say(door, {"reason": error.reason, "detail": str(error)[:1000]})
    except MemoryError:
        _say(door, {"reason": "TOO_COSTLY", "detail": "decoding takes more memory than the image's size explains."})
    else:
        socket.send_fds(door, [json.dumps(answer).encode()], [fd])
        os.close(fd)
    return True


def _let_in(door: socket.socket, cost: int, limits: DecodeLimits) -> bool:
    """Ask for memory, and take no more than was asked for."""
    _say(door, {"cost_bytes": cost})
    if not door.recv(PACKET_BYTES):
        return False
    _bound(cost, limits.processor_s)
    return True


def _bound(more_bytes: int, processor_s: int) -> None:
    """From now on at most that much more memory and processor time; beyond the latter the kernel ends the process."""
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * _PAGE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (held + more_bytes, resource.RLIM_INFINITY))
    spent_s = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (spent_s + processor_s, resource.RLIM_INFINITY))


def _mapped(fd: int) -> bytes:
    try:
        size = os.fstat(fd).st_size
        if not size:
            return b""
        with mmap.mmap(fd, size, prot=mmap.PROT_READ) as memory:
            return memory[:]
    finally:
        os.close(fd)


def _written(pixels: ImageArray, parts: list[bytes]) -> int:
    fd = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, pixels.nbytes + sum(map(len, parts)))
    with mmap.mmap(fd, 0) as memory:
        np.frombuffer(memory, np.uint8, pixels.nbytes).reshape(pixels.shape)[...] = pixels
        memory[pixels.nbytes :] = b"".join(parts)
    return fd


def _say(door: socket.socket, document: dict[str, Any]) -> None:
    door.send(json.dumps(document).encode())


if __name__ == "__main__":
    main()
