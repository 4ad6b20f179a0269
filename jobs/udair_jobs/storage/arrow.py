"""The same stores as pyarrow file systems, for Parquet and for Ray Train's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udair_jobs.errors import InvalidKey
from udair_jobs.storage.location import Location, parse
from udair_jobs.storage.roles import Role, reading_policy

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def arrow_filesystem(uri: str, *, endpoint_url: str | None = None, role: Role | None = None) -> tuple[FileSystem, str]:
    """A pyarrow file system for `uri` and the path of `uri` on it.

    Always hand it on explicitly: pyarrow's own S3 constructor ignores AWS_ENDPOINT_URL and goes to
    AWS. It pickles to Ray workers without credentials: those come from each worker's environment, with
    which each assumes `role` by itself, if there is one.

    Raises:
        InvalidKey: The URI names no store, or a folder although a role is given.
    """
    location: Location = parse(uri)
    if location.bucket is None:
        if role is not None:
            raise InvalidKey(uri, f"is a folder; role {role.arn} can read s3://bucket/prefix only.")
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(location.folder)

    import s3fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    from udair_jobs.storage.assumed import aio_session
    from udair_jobs.storage.s3 import config_options, region, sts_options

    session = None
    if role is not None:
        policy = reading_policy(role, location.bucket, location.prefix)
        session = aio_session(role, policy, sts_options(endpoint_url))
    remote = s3fs.S3FileSystem(
        endpoint_url=endpoint_url,
        client_kwargs={"region_name": region()},
        config_kwargs=config_options(endpoint_url),
        session=session,
        # fsspec would hand out an instance that was made with an earlier environment's credentials.
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    return PyFileSystem(FSSpecHandler(remote)), f"{location.bucket}/{location.prefix}".rstrip("/")
