"""One seam over S3 and a folder: everything that jobs and the control plane read and write goes through it.

Importing this loads neither torch, ray, hydra nor pyarrow.
"""

from __future__ import annotations

from udair_jobs.errors import (
    AccessDenied,
    InvalidKey,
    NotFound,
    PreconditionFailed,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from udair_jobs.storage.arrow import arrow_filesystem
from udair_jobs.storage.contract import ObjectInfo, Storage
from udair_jobs.storage.location import parse

__all__ = [
    "AccessDenied",
    "InvalidKey",
    "NotFound",
    "ObjectInfo",
    "PreconditionFailed",
    "Storage",
    "StorageError",
    "StorageUnavailable",
    "TooLarge",
    "arrow_filesystem",
    "open_storage",
]


def open_storage(uri: str, *, endpoint_url: str | None = None) -> Storage:
    """The store at `uri`; nothing is contacted yet, and a folder need not exist.

    Args:
        uri: `s3://bucket/prefix`, `file:///abs/folder` or a plain folder.
        endpoint_url: S3 endpoint; None means AWS, or AWS_ENDPOINT_URL where that is set.

    Raises:
        InvalidKey: The URI names no store.
    """
    location = parse(uri)
    if location.bucket is None:
        from udair_jobs.storage.folder import FolderStorage

        assert location.folder is not None, "a location is a bucket or a folder"
        return FolderStorage(location.folder)
    # boto3 takes a third of a second to import; a laptop that works in folders need not wait for it.
    from udair_jobs.storage.s3 import S3Storage

    return S3Storage(location.bucket, location.prefix, endpoint_url=endpoint_url)
