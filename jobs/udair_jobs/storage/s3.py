"""An S3 bucket, or anything that speaks its protocol, as an object store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from udair_jobs.errors import InvalidKey, NotFound, PreconditionFailed, StorageError, TooLarge
from udair_jobs.storage.assumed import role_session
from udair_jobs.storage.contract import ObjectInfo, Storage, UploadForm, checked_key, checked_prefix
from udair_jobs.storage.roles import Role, reading_policy
from udair_jobs.storage.s3_errors import is_conflict, mapped

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_READ_ATTEMPTS = 3
_CONFLICT_ATTEMPTS = 4
# Some gateways list no etags. Size and time stand for one then: a change is seen, but nothing can be pinned.
_NO_ETAG = "~"


class S3Storage(Storage):
    """Objects below `s3://bucket/prefix/`.

    Credentials come from the environment or the machine's role; with `role`, they are that role's, and
    good for listing and reading below the prefix only.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None, role: Role | None = None
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint_url = endpoint_url
        try:
            with self._mapping(self.uri):
                policy = reading_policy(role, bucket, prefix) if role is not None else ""
                self._client = make_client(endpoint_url, role=role, policy=policy)
        except ValueError as error:
            raise InvalidKey(self.uri, f"{error}; expected an endpoint such as http://host:9000.") from None

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"S3Storage({self.uri!r})"

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key starts with `prefix`; S3 itself lists in order of their UTF-8 bytes."""
        with self._mapping(self.uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    if key:  # the marker of the prefix itself
                        yield _info(key, item["Size"], item)

    def head(self, key: str) -> ObjectInfo:
        """Size, etag and time of one object."""
        with self._mapping(self._uri_of(key)):
            found = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
            if "ContentLength" in found:
                return _info(key, found["ContentLength"], found)
        for item in self.list(key):  # a gateway left the length out: its listing has it
            return item
        raise NotFound(self._uri_of(key), "does not exist.")

    def get(self, key: str, *, if_match: str | None = None, max_bytes: int | None = None) -> bytes:
        """The object's content; a connection that breaks half-way is tried again."""
        uri, full = self._uri_of(key), self._full(key)
        condition: Any = {}
        if if_match is not None and not if_match.startswith(_NO_ETAG):
            condition["IfMatch"] = if_match.strip('"')
        with self._mapping(uri):
            for attempt in range(_READ_ATTEMPTS):
                answer = self._client.get_object(Bucket=self._bucket, Key=full, **condition)
                # Sent without its length: one byte more than allowed shows that it is too large.
                body, size = answer["Body"], answer.get("ContentLength")
                try:
                    if max_bytes is None or (size is not None and size <= max_bytes):
                        return body.read()
                    data = body.read(max_bytes + 1) if size is None else b""
                    if size is None and len(data) <= max_bytes:
                        return data
                    body.close()
                    has = f"has {size} bytes" if size is not None else "has more bytes than that"
                    raise TooLarge(uri, f"{has}; expected at most {max_bytes}.")
                except BotoCoreError:
                    # botocore repeats requests, never the reading of an answer's body.
                    if attempt == _READ_ATTEMPTS - 1:
                        raise
        raise AssertionError("the loop returns or raises")

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write the object; the conditions are S3's own If-None-Match and If-Match."""
        uri, full = self._uri_of(key), self._full(key)
        condition: Any = {}
        if if_absent:
            condition["IfNoneMatch"] = "*"
        if if_match is not None:
            # Unquoted: radosgw answers 412 to every quoted etag, and the others take both.
            condition["IfMatch"] = if_match.strip('"')
        try:
            with self._mapping(uri):
                for attempt in range(_CONFLICT_ATTEMPTS):
                    try:
                        answer = self._client.put_object(Bucket=self._bucket, Key=full, Body=data, **condition)
                        return answer.get("ETag", "").strip('"')
                    except ClientError as error:
                        # 409: another conditional write was in flight. S3 asks the caller to repeat.
                        if not is_conflict(error) or attempt == _CONFLICT_ATTEMPTS - 1:
                            raise
        except NotFound as error:
            if if_match is not None and "bucket" not in str(error):
                raise PreconditionFailed(uri, f"does not exist; expected etag {if_match}.") from error
            raise
        raise AssertionError("the loop returns or raises")

    def delete(self, key: str) -> None:
        """Remove the object."""
        with self._mapping(self._uri_of(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def at(self, prefix: str) -> S3Storage:
        """The same bucket and connection, deeper."""
        deeper = checked_prefix(self.uri, prefix)
        if not deeper:
            return self
        other = object.__new__(S3Storage)
        other._bucket, other._prefix = self._bucket, f"{self._prefix}{deeper}/"
        other._endpoint_url, other._client = self._endpoint_url, self._client
        return other

    def presign_get(self, key: str, expires_s: int = 900) -> str:
        """A signed URL that reads the object until it expires."""
        with self._mapping(self._uri_of(key)):
            return self._client.generate_presigned_url(
                "get_object", Params={"Bucket": self._bucket, "Key": self._full(key)}, ExpiresIn=expires_s
            )

    def presign_post(self, key: str, *, max_bytes: int, expires_s: int = 900) -> UploadForm:
        """A form, signed for this object, up to a size, until it expires."""
        with self._mapping(self._uri_of(key)):
            form = self._client.generate_presigned_post(
                self._bucket,
                self._full(key),
                Conditions=[["content-length-range", 1, max_bytes]],
                ExpiresIn=expires_s,
            )
        until = datetime.now(UTC) + timedelta(seconds=expires_s)
        return UploadForm(key, form["url"], dict(form["fields"]), until, max_bytes)

    def _full(self, key: str) -> str:
        return self._prefix + checked_key(self.uri, key)

    def _uri_of(self, key: str) -> str:
        return f"{self.uri}/{key}"

    @contextlib.contextmanager
    def _mapping(self, uri: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except (BotoCoreError, ClientError) as error:
            # The cause is dropped on purpose: botocore's own text may hold the signed request.
            raise mapped(error, uri, bucket=self._bucket, endpoint_url=self._endpoint_url) from None


def make_client(endpoint_url: str | None = None, *, role: Role | None = None, policy: str = "") -> S3Client:
    """A boto3 S3 client with this project's time limits and retries; path style for custom endpoints.

    Raises:
        NoCredentialsError: There are none to assume `role` with.
    """
    # A session of its own: boto3's default session is not safe to use from several threads.
    session = role_session(role, policy, sts_options(endpoint_url)) if role is not None else None
    return boto3.session.Session(botocore_session=session).client(
        "s3", endpoint_url=endpoint_url, region_name=region(), config=client_config(endpoint_url)
    )


def region() -> str | None:
    """The region from the environment; stores other than AWS need some name, so there is a default."""
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return named or ("us-east-1" if not os.environ.get("AWS_PROFILE") else None)


def client_config(endpoint_url: str | None) -> Config:
    """botocore's settings for `endpoint_url` (None is AWS, unless AWS_ENDPOINT_URL says otherwise)."""
    return Config(**config_options(endpoint_url), max_pool_connections=32)


def sts_options(endpoint_url: str | None) -> dict[str, Any]:
    """How to reach the STS that belongs to an S3 endpoint: stores other than AWS answer for both."""
    elsewhere = os.environ.get("AWS_ENDPOINT_URL_STS")
    return {"region_name": region(), "endpoint_url": elsewhere or endpoint_url}


def config_options(endpoint_url: str | None) -> dict[str, Any]:
    """The settings that boto3 and s3fs share."""
    options: dict[str, Any] = {
        "signature_version": "s3v4",
        "connect_timeout": 5,
        "read_timeout": 60,
        "retries": {"mode": "standard", "max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", "4"))},
    }
    if endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        options["s3"] = {"addressing_style": "path"}
        # Older stores refuse the chunked checksums that botocore sends by default since 2025.
        options["request_checksum_calculation"] = "when_required"
        options["response_checksum_validation"] = "when_required"
    return options


def _info(key: str, size: int, answer: Mapping[str, Any]) -> ObjectInfo:
    modified = _modified(answer["LastModified"]) if "LastModified" in answer else ""
    etag = answer["ETag"].strip('"') if "ETag" in answer else f"{_NO_ETAG}{size}@{modified}"
    return ObjectInfo(key, size, etag, modified)


def _modified(time: datetime) -> str:
    # Whole seconds: the Last-Modified header has no more, and some stores list milliseconds.
    return time.astimezone(UTC).replace(microsecond=0).isoformat(timespec="milliseconds")
