"""Every error that jobs and their storage raise on purpose.

    JobsError
    ├── StorageError             (.uri)
    │   ├── NotFound             no such object, bucket or folder
    │   ├── AccessDenied         refused, or there are no credentials
    │   │   └── CredentialsExpired   they were good; nothing can be read until there are new ones
    │   ├── PreconditionFailed   the object is there already, or is not the expected one any more
    │   ├── StorageUnavailable   the store does not answer; trying later may help
    │   ├── TooLarge             the object is larger than the caller allows
    │   └── InvalidKey           the key or URI cannot name an object of this store
    ├── CandidateError           a published candidate is incomplete or altered
    └── JobError                 the job ends with a reason   (.reason, a closed set; .skipped)
        └── JobCancelled         somebody asked the job to stop

A message says what happened, the value, what was expected and what to do next. It never holds a
credential.
"""

from __future__ import annotations

from collections.abc import Sequence

from udair_jobs.specs import Reason, Skipped


class JobsError(Exception):
    """Base of every error that jobs raise on purpose."""


class StorageError(JobsError):
    """An object store refused or failed.

    Attributes:
        uri: The object, prefix or store that was asked for.
    """

    def __init__(self, uri: str, message: str) -> None:
        super().__init__(f"{uri}: {message}")
        self.uri = uri


class NotFound(StorageError):
    """There is no such object, bucket or folder."""


class AccessDenied(StorageError):
    """The store refused the caller's credentials, or there are none."""


class CredentialsExpired(AccessDenied):
    """Temporary credentials have run out: every object is refused, not this one."""


class PreconditionFailed(StorageError):
    """The object exists already (`if_absent`), or is not the expected one any more (`if_match`)."""


class StorageUnavailable(StorageError):
    """The store does not answer or is failing; the same call may succeed later."""


class TooLarge(StorageError):
    """The object is larger than the caller is willing to read."""


class InvalidKey(StorageError, ValueError):
    """The key or URI cannot name an object of this store."""


class CandidateError(JobsError):
    """A published candidate is incomplete or altered, so nobody may use it."""


class JobError(JobsError):
    """The job cannot go on.

    Attributes:
        reason: Why, as the control plane stores it; its class decides whether a retry makes sense.
        skipped: Objects of the customer's prefix that were refused, where they explain the reason.
    """

    def __init__(self, reason: Reason, message: str, skipped: Sequence[Skipped] = ()) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.skipped = tuple(skipped)


class JobCancelled(JobError):
    """Somebody asked the job to stop."""

    def __init__(self, message: str = "the job was asked to stop; nothing was published.") -> None:
        super().__init__("USER_CANCELLED", message)


def last_line(error: BaseException) -> str:
    """The last line of an error's text, where libraries put what matters after a stack of their own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:400] if lines else type(error).__name__
