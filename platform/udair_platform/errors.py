"""Every error the platform raises on purpose, each with a stable code and an HTTP status.

    PlatformError
    ├── SettingsError          SETTINGS_INVALID      500  the process was started with a bad setting
    ├── Invalid                VALIDATION_FAILED     422  a request names the fields that are wrong
    │   ├── BadRequest         BAD_REQUEST           400  a header, page token or query is malformed
    │   ├── BodyTooLarge       BODY_TOO_LARGE        413
    │   └── KeyReused          IDEMPOTENCY_MISMATCH  422  an idempotency key came with another body
    ├── Unauthenticated        UNAUTHENTICATED       401  no usable key
    │   ├── KeyInvalid         KEY_INVALID           401
    │   ├── KeyExpired         KEY_EXPIRED           401
    │   ├── KeyRevoked         KEY_REVOKED           401
    │   └── TokenInvalid       TOKEN_INVALID         401  an identity provider's token cannot be trusted
    ├── Forbidden              FORBIDDEN             403  the key lacks the scope
    │   └── FourEyes           FOUR_EYES             403  who submitted the job may not let its version serve
    ├── NotFound               NOT_FOUND             404  also: it belongs to another tenant
    ├── Conflict               CONFLICT              409
    │   ├── AlreadyExists      ALREADY_EXISTS        409
    │   ├── InvalidState       INVALID_STATE         409  the noun's table has no such transition
    │   ├── AliasMoved         ALIAS_MOVED           409  compare-and-set lost
    │   ├── GateRejected       GATE_REJECTED         409  the gate does not let this version serve
    │   ├── QuotaExceeded      QUOTA_EXCEEDED        409  the tenant has as many as it may have
    │   ├── BudgetSpent        BUDGET_SPENT          409  the tenant's budget of the month is spent; no new job starts
    │   ├── StaleWrite         STALE_WRITE           409  somebody else changed the row first
    │   ├── RequestInProgress  REQUEST_IN_PROGRESS   409  the same idempotency key is being served
    │   └── VersionInUse       VERSION_IN_USE        409  an alias or a share of the traffic points at it
    ├── EtagMismatch           ETAG_MISMATCH         412
    ├── NotAcceptable          NOT_ACCEPTABLE        406
    ├── TooManyRequests        TOO_MANY_REQUESTS     429
    ├── TooSlow                REQUEST_TIMEOUT       408  the body did not arrive in time
    ├── CandidateInvalid       CANDIDATE_INVALID     500  a published adapter does not match its manifest
    └── Unavailable            UNAVAILABLE           503
        ├── StateUnavailable   STATE_UNAVAILABLE     503  the database does not answer
        ├── StoreDown          STORE_UNAVAILABLE     503  the object store does not answer
        ├── LauncherDown       LAUNCHER_UNAVAILABLE  503  the cluster does not answer
        ├── IdentityDown       IDENTITY_UNAVAILABLE  503  the identity provider does not answer
        ├── NotLaunched        NOT_LAUNCHED          503  the cluster answers and does not take the attempt
        │   └── NoCapacity     NO_CAPACITY           503  it has no room
        └── LeaseLost          LEASE_LOST            503  another reconciler took over

A message says what happened, the value, what was expected and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a request: an RFC 6901 pointer and what is wrong there."""

    pointer: str
    detail: str


class PlatformError(Exception):
    """Base of every error that the platform raises on purpose."""

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class SettingsError(PlatformError):
    """The process was started with a bad setting."""

    code, title = "SETTINGS_INVALID", "A setting is wrong"


class Invalid(PlatformError):
    """A request holds values that cannot be accepted; `errors` points at each."""

    code, status, title = "VALIDATION_FAILED", 422, "The request is not valid"


class BadRequest(Invalid):
    """A header, page token or query parameter is malformed."""

    code, status, title = "BAD_REQUEST", 400, "The request is malformed"


class BodyTooLarge(Invalid):
    """The body exceeds the bound of the control API."""

    code, status, title = "BODY_TOO_LARGE", 413, "The body is too large"


class KeyReused(Invalid):
    """An idempotency key came back with another request."""

    code, title = "IDEMPOTENCY_MISMATCH", "The idempotency key was used for another request"


class Unauthenticated(PlatformError):
    """There is no usable key in the request."""

    code, status, title = "UNAUTHENTICATED", 401, "A valid API key is required"


class KeyInvalid(Unauthenticated):
    """The key is malformed, forged, or of another platform."""

    code, title = "KEY_INVALID", "The API key is not valid"


class KeyExpired(Unauthenticated):
    """The key was good once."""

    code, title = "KEY_EXPIRED", "The API key has expired"


class KeyRevoked(Unauthenticated):
    """The key was taken back."""

    code, title = "KEY_REVOKED", "The API key was revoked"


class TokenInvalid(Unauthenticated):
    """A token of the identity provider is forged, expired, for somebody else, or says too little."""

    code, title = "TOKEN_INVALID", "The token is not valid"


class Forbidden(PlatformError):
    """The key is good and lacks the scope."""

    code, status, title = "FORBIDDEN", 403, "The caller may not do that"


class FourEyes(Forbidden):
    """The domain wants somebody else to let the version serve than who submitted its job."""

    code, title = "FOUR_EYES", "Somebody else must decide"


class NotFound(PlatformError):
    """There is no such thing for this tenant."""

    code, status, title = "NOT_FOUND", 404, "Not found"


class Conflict(PlatformError):
    """The request contradicts what is there."""

    code, status, title = "CONFLICT", 409, "The request conflicts with the current state"


class AlreadyExists(Conflict):
    """The name is taken."""

    code, title = "ALREADY_EXISTS", "It exists already"


class InvalidState(Conflict):
    """The noun's transition table has no such move."""

    code, title = "INVALID_STATE", "Not possible in the current state"


class AliasMoved(Conflict):
    """Compare-and-set lost: the alias is elsewhere."""

    code, title = "ALIAS_MOVED", "The alias has moved"


class GateRejected(Conflict):
    """The gate does not let this version serve."""

    code, title = "GATE_REJECTED", "The gate does not let this version serve"


class QuotaExceeded(Conflict):
    """The tenant has as many as it may have."""

    code, title = "QUOTA_EXCEEDED", "The tenant's quota is used up"


class BudgetSpent(Conflict):
    """The tenant's budget of this month is spent: no new job starts."""

    code, title = "BUDGET_SPENT", "The tenant's budget of this month is spent"


class StaleWrite(Conflict):
    """Somebody else changed the row between our read and our write."""

    code, title, retryable = "STALE_WRITE", "It was changed at the same time", True


class RequestInProgress(Conflict):
    """The same idempotency key is being served right now."""

    code, title, retryable = "REQUEST_IN_PROGRESS", "The same request is being served", True


class VersionInUse(Conflict):
    """An alias or a share of the traffic points at the version."""

    code, title = "VERSION_IN_USE", "The version is in use"


class EtagMismatch(PlatformError):
    """If-Match names another revision."""

    code, status, title = "ETAG_MISMATCH", 412, "The resource has another ETag"


class NotAcceptable(PlatformError):
    """The caller accepts no format that we can write."""

    code, status, title = "NOT_ACCEPTABLE", 406, "No acceptable format"


class TooManyRequests(PlatformError):
    """More is asked of us than we can do now; the same request may work a little later."""

    code, status, title, retryable = "TOO_MANY_REQUESTS", 429, "Too many requests", True


class TooSlow(PlatformError):
    """The body did not arrive in time."""

    code, status, title = "REQUEST_TIMEOUT", 408, "The request took too long to arrive"


class CandidateInvalid(PlatformError):
    """A published adapter does not match its manifest, its job, or its base model."""

    code, title = "CANDIDATE_INVALID", "The published adapter cannot be trusted"


class Unavailable(PlatformError):
    """Something we stand on does not answer; the same request may work later."""

    code, status, title, retryable = "UNAVAILABLE", 503, "Temporarily unavailable", True


class StateUnavailable(Unavailable):
    """The database does not answer, or stays locked."""

    code, title = "STATE_UNAVAILABLE", "The database does not answer"


class StoreDown(Unavailable):
    """The object store does not answer."""

    code, title = "STORE_UNAVAILABLE", "The object store does not answer"


class LauncherDown(Unavailable):
    """The cluster that runs jobs does not answer."""

    code, title = "LAUNCHER_UNAVAILABLE", "The job cluster does not answer"


class IdentityDown(Unavailable):
    """The identity provider's keys cannot be had, and those that are known do not suffice."""

    code, title = "IDENTITY_UNAVAILABLE", "The identity provider does not answer"


class NotLaunched(Unavailable):
    """The cluster answers and does not take the attempt.

    Attributes:
        reason: Of the attempt's failure; its class decides what follows.
    """

    code, title = "NOT_LAUNCHED", "The job cluster does not take the job"

    def __init__(self, detail: str, *, reason: str = "CONTROLLER_ERROR") -> None:
        super().__init__(detail)
        self.reason = reason


class NoCapacity(NotLaunched):
    """The cluster answers and has no room."""

    code, title = "NO_CAPACITY", "The job cluster has no room"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="NO_CAPACITY")


class LeaseLost(Unavailable):
    """Another reconciler holds the lease; whatever this one was about to write is void."""

    code, title = "LEASE_LOST", "Another reconciler took over"
