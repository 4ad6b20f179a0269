"""botocore's errors in this project's words: what happened, where, and what to do next."""

from __future__ import annotations

import os

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from udair_jobs.errors import (
    AccessDenied,
    CredentialsExpired,
    InvalidKey,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
)

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
)
_REFUSED = {
    "AccessDenied": "the credentials may not; allow s3:ListBucket and s3:GetObject (s3:PutObject to write)",
    "AllAccessDisabled": "access to it is disabled",
    "AccountProblem": "there is a problem with the account",
    "InvalidAccessKeyId": "the access key is unknown there; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not belong to the access key; check AWS_SECRET_ACCESS_KEY",
    "InvalidToken": "the session token is wrong; check AWS_SESSION_TOKEN",
    "InvalidObjectState": "it is archived; restore it from Glacier first, then try again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
# The same request may succeed later: S3's own, every code that botocore takes for throttling, and STS's.
_BUSY = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "IDPCommunicationError",
    "InternalError",
    "InternalFailure",
    "LimitExceededException",
    "OperationAborted",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottledException",
    "ThrottlingException",
    "TooManyRequests",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
_BUSY_STATUS = {408, 425, 429}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}


def is_conflict(error: ClientError) -> bool:
    """Whether S3 answered that another conditional write was in flight (409)."""
    return error.response.get("Error", {}).get("Code") == "ConditionalRequestConflict"


def mapped(error: Exception, uri: str, *, bucket: str, endpoint_url: str | None) -> StorageError:
    """The StorageError that says what `error` means for `uri`; its text holds no credential."""
    endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    place = f" at {endpoint_url}" if endpoint_url else ""
    if isinstance(error, _NO_CREDENTIALS):
        return AccessDenied(
            uri,
            f"no usable credentials{place} ({type(error).__name__}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or run with a role that may read it.",
        )
    if isinstance(error, ClientError):
        return _answered(error, uri, bucket, place)
    if isinstance(error, boto.EndpointConnectionError):
        return StorageUnavailable(
            uri, f"nothing answers{place or ' at AWS'}; check the endpoint URL and that the store runs."
        )
    if isinstance(error, (boto.HTTPClientError, boto.IncompleteReadError, boto.ResponseStreamingError)):
        return StorageUnavailable(uri, f"the connection{place} failed ({type(error).__name__}); try again.")
    if isinstance(error, boto.ParamValidationError):
        return InvalidKey(uri, f"is no valid S3 name: {' '.join(str(error).split())}")
    return StorageError(uri, f"{type(error).__name__}{place}; run with the environment that reaches the store.")


def _answered(error: ClientError, uri: str, bucket: str, place: str) -> StorageError:
    details = error.response.get("Error", {})
    code = str(details.get("Code") or error.response.get("Code", ""))  # Ceph's STS forgets the envelope
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _EXPIRED:
        return CredentialsExpired(uri, f"the session has expired ({code}{place}); get new temporary credentials.")
    if code in _BUSY or status in _BUSY_STATUS or status >= 500:
        return StorageUnavailable(uri, f"the store failed with HTTP {status} {code}{place}; try again later.")
    if error.operation_name == "AssumeRole" and 400 <= status < 500:
        return AccessDenied(
            uri,
            f"the role cannot be assumed ({code}{place}); check its ARN, that it trusts the platform, and the external id.",
        )
    if code == "NoSuchBucket":
        return NotFound(uri, f"bucket {bucket!r} does not exist{place}; check its name and the endpoint.")
    if code in _REFUSED:
        return AccessDenied(uri, f"{_REFUSED[code]} ({code}{place}).")
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status == 412:
        return PreconditionFailed(uri, "exists already, or is not the version that was expected.")
    if code in ("NoSuchKey", "NoSuchVersion") or status == 404:
        return NotFound(uri, f"does not exist{place}.")
    if code in _ELSEWHERE or status == 301:
        return StorageError(uri, f"bucket {bucket!r} lives in another region ({code}); set AWS_REGION to it.")
    if status in (401, 403):
        return AccessDenied(uri, f"refused with HTTP {status} {code}{place}; check credentials and bucket policy.")
    return StorageError(uri, f"refused with HTTP {status} {code}{place}.")
