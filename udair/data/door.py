"""The door that bytes from outside come in by: decoded in processes that can be ended, a fair share for everybody.

A decoder cannot be interrupted, and a thread in one cannot be stopped. So images are decoded by a few processes
that live long and are replaced: each image may take the processor time of its limits and the memory that its
header explains, kept by the kernel. What an image is refused for is its own doing alone; that others wait in
front of it is `DoorBusy`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass

from udair.data.decoder import Decoded, Decoder, Died, started
from udair.data.images import DecodeLimits
from udair.errors import DoorBusy, ImageError

_TRIES = 2
_END_S = 60.0


@dataclass(eq=False)
class _Job:
    data: bytes
    limits: DecodeLimits
    tenant: str
    future: Future[Decoded]


class DecodeDoor:
    """Decodes for many tenants; safe for threads.

    Args:
        workers: Processes; a tenant has at most all but one, so that one is always near for the others.
        waiting: Images of one tenant that may wait.
        memory_bytes: Of large images being decoded together; a small one (an eighth of it) never waits for memory.
    """

    def __init__(self, workers: int = 3, *, waiting: int = 32, memory_bytes: int = 2**30) -> None:
        self._share, self._most_waiting, self._memory_bytes = max(1, workers - 1), waiting, memory_bytes
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._held_bytes = 0
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._slot, name=f"decode-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def decode(self, data: bytes, limits: DecodeLimits | None = None, *, tenant: str = "") -> Decoded:
        """Decode one image and wait for it.

        Raises:
            ImageError: With `.reason` from `udair.data.images.REASONS`.
            DoorBusy: Nothing is wrong with the image; there was no room, or no processor.
        """
        return self.submit(data, limits, tenant=tenant).result()

    def submit(self, data: bytes, limits: DecodeLimits | None = None, *, tenant: str = "") -> Future[Decoded]:
        """Begin to decode one image; a future that is cancelled before its turn costs nothing.

        Raises:
            DoorBusy: As many of the tenant's images wait as may, or the door is closed.
        """
        job = _Job(data, limits or DecodeLimits(), tenant, Future())
        with self._changed:
            if self._closed:
                raise DoorBusy("The door is closed; this process is about to end.")
            queue = self._waiting.setdefault(tenant, deque())
            if len(queue) >= self._most_waiting:
                raise DoorBusy(
                    f"{len(queue)} images of {tenant or 'this job'} wait to be decoded; send it again later."
                )
            queue.append(job)
            self._changed.notify_all()
        job.future.add_done_callback(lambda future: self._forget(job) if future.cancelled() else None)
        return job.future

    def close(self) -> None:
        """End the processes; what waits is cancelled."""
        with self._changed:
            self._closed = True
            for job in [job for queue in self._waiting.values() for job in queue]:
                job.future.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_END_S)

    def _forget(self, job: _Job) -> None:
        """Whoever asked is gone: the image waits no more, and holds no other's place."""
        with self._changed:
            queue = self._waiting.get(job.tenant, deque())
            with contextlib.suppress(ValueError):
                queue.remove(job)
            if not queue:
                self._waiting.pop(job.tenant, None)

    def _slot(self) -> None:
        worker: Decoder | None = None
        try:
            worker = started()
            while (job := self._next()) is not None:
                if job.future.set_running_or_notify_cancel():
                    worker = self._answered(worker, job)
                with self._changed:
                    self._running[job.tenant] -= 1
                    if not self._running[job.tenant]:
                        del self._running[job.tenant]
                    self._changed.notify_all()
                del job  # its bytes and pixels are the caller's now
        finally:
            if worker is not None:
                worker.end()

    def _next(self) -> _Job | None:
        """The next image of the tenant that has waited longest for a turn; None when the door closes."""
        with self._changed:
            while not self._closed:
                for tenant, queue in self._waiting.items():
                    if self._running[tenant] < self._share:
                        job = queue.popleft()
                        self._running[tenant] += 1
                        del self._waiting[tenant]
                        if queue:  # behind everybody else
                            self._waiting[tenant] = queue
                        return job
                self._changed.wait()
        return None

    def _answered(self, worker: Decoder | None, job: _Job) -> Decoder | None:
        """Settle the future; the worker to go on with."""
        death: Died | None = None
        for _ in range(_TRIES):
            worker = worker or started()
            if worker is None:
                break
            try:
                job.future.set_result(worker.decode(job.data, job.limits, self._memory))
            except Died as error:
                death = error
                worker.end()
                worker = None
                if death.costly:
                    break
                continue  # whatever ended it: a fresh one tries again
            except Exception as error:
                job.future.set_exception(error)
                # What is out of step with us would answer the next image with this one's pixels.
                worker.worn |= not isinstance(error, ImageError)
            if worker.worn:
                worker.end()
                worker = None
            return worker or started()
        if death is None or death.blameless:
            job.future.set_exception(DoorBusy("No decoder could be given processor or memory; send it again later."))
        else:
            job.future.set_exception(ImageError("TOO_COSTLY", death.told(job.limits)))
        return worker or started()

    @contextlib.contextmanager
    def _memory(self, cost_bytes: int) -> Iterator[None]:
        """Hold memory, once there is room for it."""
        with self._changed:
            while (
                cost_bytes > self._memory_bytes // 8
                and self._held_bytes
                and self._held_bytes + cost_bytes > self._memory_bytes
                and not self._closed
            ):
                self._changed.wait()
            self._held_bytes += cost_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held_bytes -= cost_bytes
                self._changed.notify_all()
