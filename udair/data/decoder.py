"""One process that decodes, and the socket to it: what `udair.data.decode_worker` is from outside.

It is killed where it stalls, and replaced by whoever asks for the next image (`udair.data.door`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fcntl import fcntl
from pathlib import Path
from typing import Any

import numpy as np

from udair.data.encoding import ImageMetadata
from udair.data.images import DecodeLimits, ImageArray
from udair.errors import ImageError

log = logging.getLogger(__name__)

_F_ADD_SEALS, _F_SEAL_SHRINK = 1033, 2  # of Linux
_PACKET_BYTES = 16 * 2**10
# Beyond that an image is no everyday one: it yields the processor to those that are.
_SOON_S = 1.0
# A process that for so many times the limit has neither answered nor been ended was given no processor.
_STALLED = 6
_RECYCLED_AFTER = 2_000
_START_S = 60.0


@dataclass(frozen=True)
class Decoded:
    """An image that came in: (H, W, 3) uint8 RGB, upright, and what its file says beside."""

    image: ImageArray
    metadata: ImageMetadata


class Died(Exception):
    """A worker ended, or was ended, with an image in it."""

    def __init__(self, status: int | None) -> None:
        """With its exit status; None: what happened says nothing about the image."""
        super().__init__(status)
        self.blameless = status is None or status == -signal.SIGKILL  # the kernel's, for want of memory
        self.costly = status == -signal.SIGXCPU
        self._status = status

    def told(self, limits: DecodeLimits) -> str:
        if self.costly:
            return f"decoding takes more than {limits.processor_s} s of processor time; save the image anew."
        return f"the decoder ended twice, with status {self._status}; save the image anew."


class Decoder:
    """One process, and the socket to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "udair.data.decode_worker", str(theirs.fileno())],
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for those who wait for the image
            )
        self._done, self._ready, self.worn = 0, False, False  # worn: to be replaced

    def decode(
        self, data: bytes, limits: DecodeLimits, memory: Callable[[int], contextlib.AbstractContextManager[None]]
    ) -> Decoded:
        """Decode one image.

        Args:
            data: Encoded bytes.
            limits: Of the image.
            memory: Held for the pixels: told how many bytes once the header is known.

        Raises:
            ImageError: With `.reason` from `udair.data.images.REASONS`.
            Died: The process has ended; this decoder is of no more use.
        """
        if not self._ready:
            self._hear(_START_S)
            self._ready = True
        self._done += 1
        self.worn = self._done >= _RECYCLED_AFTER
        patience_s = float(_STALLED * limits.processor_s)
        with _shared(data) as fd:
            self._say({"limits": asdict(limits)}, [fd])
        head, _ = self._hear(patience_s)
        with memory(int(_answer(head)["cost_bytes"])):
            self._say({}, [])
            told, fds = self._hear(patience_s)
        return _received(_answer(told), fds)

    def end(self) -> None:
        """Kill the process and wait for it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _say(self, document: dict[str, Any], fds: list[int]) -> None:
        try:
            socket.send_fds(self._socket, [json.dumps(document).encode()], fds)
        except OSError:
            raise self._died() from None

    def _died(self) -> Died:
        self._process.kill()
        status = self._process.wait()
        return Died(status if self._ready else None)

    def _hear(self, patience_s: float) -> tuple[dict[str, Any], list[int]]:
        for wait_s in (_SOON_S, patience_s):
            self._socket.settimeout(wait_s)
            try:
                packet, fds, _, _ = socket.recv_fds(self._socket, _PACKET_BYTES, 1)
            except TimeoutError:
                self._yield()
                continue
            except OSError:
                packet, fds = b"", []
            if not packet:
                raise self._died()
            return json.loads(packet), fds
        raise Died(None)

    def _yield(self) -> None:
        """Let everybody else's images go first from now on; such a process is replaced after its image."""
        if self._ready:
            self.worn = True
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, 10)


def started() -> Decoder | None:
    """A new worker; None where the machine has no room for a process."""
    try:
        return Decoder()
    except OSError as error:
        log.warning("no process that decodes could be started: %s", error)
        return None


def _environment() -> dict[str, str]:
    # Neither secrets nor threads: what decodes is what an attacker would take over first.
    root = str(Path(__file__).parents[2])
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    paths = os.pathsep.join([root, *(path for path in sys.path if path)])
    return kept | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def _shared(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("encoded", os.MFD_CLOEXEC)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        yield fd
    finally:
        os.close(fd)


def _answer(told: dict[str, Any]) -> dict[str, Any]:
    if "reason" in told:
        raise ImageError(str(told["reason"]), str(told["detail"]))
    return told


def _received(told: dict[str, Any], fds: list[int]) -> Decoded:
    """Map what a worker wrote; its word about sizes is checked against the memory itself."""
    (fd,) = fds
    try:
        fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK)  # memory that shrinks would end this process, too
        height, width, channels = map(int, told["shape"])
        exif, icc = map(int, told["parts"])
        pixels = height * width * channels
        assert channels == 3
        assert min(height, width, exif + 1, icc + 1) > 0
        assert os.fstat(fd).st_size == pixels + exif + icc
        memory = mmap.mmap(fd, 0)
    finally:
        os.close(fd)
    image = np.frombuffer(memory, np.uint8, pixels).reshape(height, width, 3)
    size = (int(told["size"][0]), int(told["size"][1]))
    rest = memory[pixels:]
    return Decoded(image, ImageMetadata(str(told["format"]), rest[:exif], rest[exif:], size))
