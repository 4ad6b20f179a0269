"""What a storage URI names: a bucket and prefix, or a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from udair_jobs.errors import InvalidKey
from udair_jobs.storage.contract import checked_prefix


@dataclass(frozen=True)
class Location:
    """A parsed URI: `bucket` and `prefix`, or `folder`."""

    bucket: str | None = None
    prefix: str = ""
    folder: Path | None = None


def parse(uri: str) -> Location:
    """Read `s3://bucket/prefix`, `file:///abs/folder` or a plain folder.

    `?`, `#`, `%` and spaces in an S3 prefix mean themselves, as they do in S3 keys.

    Raises:
        InvalidKey: Another scheme, no bucket, or a prefix that climbs with '..'.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        if not uri.strip():
            raise InvalidKey(repr(uri), "is no URI; expected s3://bucket/prefix, file:///folder or a folder.")
        return Location(folder=Path(os.path.abspath(Path(uri).expanduser())))
    if scheme == "file":
        if not rest.startswith("/"):
            raise InvalidKey(uri, "names another host; expected file:///folder with three slashes.")
        return Location(folder=Path(os.path.abspath(unquote(rest))))
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        if not bucket or "@" in bucket:
            raise InvalidKey("s3://...", "names no bucket; expected s3://bucket/prefix without credentials in it.")
        return Location(bucket=bucket, prefix=checked_prefix(uri, prefix))
    raise InvalidKey(f"{scheme}://...", "is no known store; expected s3://bucket/prefix, file:///folder or a folder.")
