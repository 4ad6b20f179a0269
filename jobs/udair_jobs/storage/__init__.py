"""One seam over S3 and a folder: everything that jobs and the control plane read and write goes through it.

Importing this loads neither torch, ray, hydra nor pyarrow.
"""

from __future__ import annotations

from udair_jobs.errors import (
    AccessDenied,
    CredentialsExpired,
    InvalidKey,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.storage.arrow import arrow_filesystem
from udair_jobs.storage.contract import ObjectInfo, Storage, UploadForm
from udair_jobs.storage.location import parse
from udair_jobs.storage.patience import PATIENCE_S, PatientStorage
from udair_jobs.storage.roles import Role

__all__ = [
    "PATIENCE_S",
    "AccessDenied",
    "CredentialsExpired",
    "InvalidKey",
    "NotFound",
    "ObjectInfo",
    "PatientStorage",
    "PreconditionFailed",
    "Role",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "TooLarge",
    "UploadForm",
    "arrow_filesystem",
    "open_storage",
]


def open_storage(uri: str, *, endpoint_url: str | None = None, role: Role | None = None) -> Storage:
    """The store at `uri`; nothing is contacted yet, and a folder need not exist.

    Args:
        uri: `s3://bucket/prefix`, `file:///abs/folder` or a plain folder.
        endpoint_url: S3 endpoint; None means AWS, or AWS_ENDPOINT_URL where that is set.
        role: Read an S3 prefix with the rights of this role instead of this process's own.

    Raises:
        InvalidKey: The URI names no store, or a folder although a role is given.
        AccessDenied: There are no credentials to assume the role with.
    """
    location = parse(uri)
    if location.bucket is None:
        from udair_jobs.storage.folder import FolderStorage

        assert location.folder is not None, "a location is a bucket or a folder"
        if role is not None:
            raise InvalidKey(uri, f"is a folder; role {role.arn} can read s3://bucket/prefix only.")
        return FolderStorage(location.folder)
    # boto3 takes a third of a second to import; a laptop that works in folders need not wait for it.
    from udair_jobs.storage.s3 import S3Storage

    return S3Storage(location.bucket, location.prefix, endpoint_url=endpoint_url, role=role)
