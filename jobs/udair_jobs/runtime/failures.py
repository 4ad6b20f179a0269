"""Which reason the control plane stores for an error; the reason's class decides about a retry."""

from __future__ import annotations

import errno
import tempfile
from typing import cast

from udair.errors import AdaptationError, AdapterError, BundleError, ConfigError
from udair_jobs.errors import AccessDenied, CandidateError, InvalidKey, JobError, NotFound, StorageError
from udair_jobs.specs import RETRY_CLASS, Reason, RetryClass

# What a failed job's process ends with: whose fault it was. 0 is success, 1 that not even a result
# could be written, 2 a wrong command.
EXIT_STATUS: dict[RetryClass, int] = {"USER": 3, "CAPACITY": 4, "SYSTEM": 5, "DEADLINE": 6, "NUMERIC": 7}

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def exit_status(reason: Reason) -> int:
    """The exit status of a job that ended for `reason`: 3 to 7, by its retry class."""
    return EXIT_STATUS[RETRY_CLASS[reason]]


def explain(error: Exception) -> tuple[Reason, str]:
    """The reason and the text that the control plane stores for `error`."""
    if isinstance(error, JobError):
        return error.reason, str(error)
    if isinstance(error, AdaptationError):
        return cast(Reason, error.reason), str(error)
    if isinstance(error, AccessDenied):
        return "ACCESS_DENIED", str(error)
    if isinstance(error, NotFound):
        return "SOURCE_NOT_FOUND", str(error)
    if isinstance(error, (BundleError, AdapterError, ConfigError, InvalidKey)):
        return "INVALID_SPEC", str(error)
    if isinstance(error, (StorageError, CandidateError)):
        return "CONTROLLER_ERROR", str(error)
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return "OOM", f"not enough memory: {error}. Lower recipe.batch, recipe.patch or limits.max_side."
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return "CONTROLLER_ERROR", (
            f"this machine cannot write its scratch files ({error.strerror}: {error.filename or tempfile.gettempdir()}); "
            "free the disk, or set TMPDIR to a folder on a larger one."
        )
    if name == "AcceleratorError" or "CUDA error" in str(error):
        return "GPU_FAULT", str(error)
    return "CONTROLLER_ERROR", f"{name}: {error}"
