"""The Ray cluster that a job runs on: the one of RAY_ADDRESS, or one of its own on this machine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from udair_jobs.errors import JobCancelled, JobError, last_line
from udair_jobs.runtime.cancellation import Cancellation

log = logging.getLogger(__name__)

Result = TypeVar("Result")


def start_ray(workers: int, cancellation: Cancellation) -> None:
    """Connect to RAY_ADDRESS, or start Ray on this machine with room for `workers`; at most once.

    Args:
        workers: How many processes the job wants at the same time.
        cancellation: Of the job; Ray takes the process's signals for itself, so it takes them back.

    Raises:
        JobError: CONTROLLER_ERROR when Ray does not start twice in a row.
    """
    import ray

    if not ray.is_initialized():
        _start(workers)
    cancellation.reinstall()


def interruptible(call: Callable[[], Result]) -> Result:
    """Return `call()`, which waits for Ray, and let a request to stop interrupt the waiting.

    Where Ray waits itself, it turns a signal handler's exception into a SystemError, or loses it.

    Raises:
        JobCancelled: Somebody asked the job to stop; what it had started on the cluster ends.
    """
    import ray

    done: Future[Result] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # handed over to the thread that waits
            done.set_exception(error)

    threading.Thread(target=run, daemon=True, name="ray-wait").start()
    try:
        return done.result()
    except JobCancelled:
        ray.shutdown()  # the cluster ends whatever belongs to a driver that leaves
        raise


def _start(workers: int) -> None:
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=True)
        return
    for attempt in (1, 2):
        try:
            # Logical CPUs: workers on a small machine share its cores.
            # The dashboard stays on: without its State API, Ray Train complains every second.
            ray.init(address="local", num_cpus=max(os.cpu_count() or 1, workers + 1))
            return
        except Exception as error:  # start-up fails in many types, mostly because the machine is busy
            ray.shutdown()
            if attempt == 2:
                raise JobError(
                    "CONTROLLER_ERROR",
                    f"Ray did not start on this machine: {last_line(error)}. It needs about 2 GB of "
                    "memory and some idle processor time: stop other work and run the same command again.",
                ) from error
            log.warning("Ray did not start (%s); trying once more", last_line(error))
