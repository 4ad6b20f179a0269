"""What every store offers, and which keys it accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from udair_jobs.errors import InvalidKey, NotFound

MAX_KEY_BYTES = 1024


@dataclass(frozen=True)
class ObjectInfo:
    """One object as a listing shows it.

    Attributes:
        key: Relative to the storage's URI, '/'-separated.
        size: Bytes.
        etag: Names this version of the object, without quotes; compare it, never parse it.
        last_modified: UTC, ISO 8601.
    """

    key: str
    size: int
    etag: str
    last_modified: str


@dataclass(frozen=True)
class UploadForm:
    """How one object is uploaded: POST `url` as multipart/form-data with `fields`, then the content as `file`."""

    name: str
    url: str
    fields: dict[str, str]
    expires_time: datetime
    max_bytes: int


class Storage(Protocol):
    """Objects under one URI; keys are relative to it. Safe to share between threads.

    Every method may raise AccessDenied, StorageUnavailable and InvalidKey besides what it names.
    """

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix` or an absolute folder, without a trailing slash."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`, sorted by key; none is no error.

        Raises:
            NotFound: The bucket itself does not exist.
        """
        ...

    def head(self, key: str) -> ObjectInfo:
        """What a listing would show for `key`.

        Raises:
            NotFound: There is no such object.
        """
        ...

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """The object's content.

        Args:
            key: Which object.
            if_match: Etag that it must still have.
            max_bytes: Largest size to read.

        Raises:
            NotFound: There is no such object.
            PreconditionFailed: Its etag is another one.
            TooLarge: It has more than `max_bytes`; nothing was read.
        """
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write the object whole and return its etag; readers see the old or the new, never a part.

        When an answer is lost on the way and the call is repeated, `if_absent` may report the
        caller's own object: compare contents before concluding that somebody else was faster.

        Raises:
            PreconditionFailed: `if_absent` and it exists, or `if_match` and it is missing or another.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object; a missing bucket holds none."""
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def at(self, prefix: str) -> Storage:
        """The same store, deeper."""
        ...

    def presign_get(self, key: str, expires_s: int = 900) -> str:
        """A URL that reads the object without credentials; `file://` for a folder, which cannot expire."""
        ...

    def presign_post(self, key: str, *, max_bytes: int, expires_s: int = 900) -> UploadForm:
        """A form that uploads the object without credentials.

        Raises:
            StorageError: The store is a folder, which takes no uploads.
        """
        ...


def checked_key(uri: str, key: str) -> str:
    """`key`, if it can name an object below `uri` and nothing else.

    Raises:
        InvalidKey: It is empty, absolute, too long, or climbs with '..'.
    """
    wrong = ""
    if not key:
        wrong = "is empty"
    elif key.startswith("/"):
        wrong = "starts with '/'"
    elif "\0" in key:
        wrong = "holds a NUL byte"
    elif any(part in ("..", ".") for part in key.split("/")):
        # HTTP clients fold these away before the request is sent, so that another object would answer.
        wrong = "has a '.' or '..' segment"
    else:
        try:
            if len(key.encode()) > MAX_KEY_BYTES:
                wrong = f"is longer than {MAX_KEY_BYTES} bytes"
        except UnicodeEncodeError:
            wrong = "is no valid Unicode"
    if wrong:
        raise InvalidKey(uri, f"key {key[:200]!a} {wrong}; expected a relative path such as 'a/b.png'.")
    return key


def checked_prefix(uri: str, prefix: str) -> str:
    """`prefix` as `at` uses it: no slash at either end, possibly empty; refused like a key."""
    stripped = prefix.strip("/")
    return checked_key(uri, stripped) if stripped else ""
