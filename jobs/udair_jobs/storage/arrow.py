"""The same stores as pyarrow file systems, for Parquet and for Ray Train's checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udair_jobs.storage.location import Location, parse

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


def arrow_filesystem(uri: str, *, endpoint_url: str | None = None) -> tuple[FileSystem, str]:
    """A pyarrow file system for `uri` and the path of `uri` on it.

    Always hand it on explicitly: pyarrow's own S3 constructor ignores AWS_ENDPOINT_URL and goes to
    AWS. It pickles to Ray workers without credentials: those come from each worker's environment.

    Raises:
        InvalidKey: The URI names no store.
    """
    location: Location = parse(uri)
    if location.bucket is None:
        from pyarrow.fs import LocalFileSystem

        return LocalFileSystem(), str(location.folder)

    import s3fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    from udair_jobs.storage.s3 import config_options, region

    remote = s3fs.S3FileSystem(
        endpoint_url=endpoint_url,
        client_kwargs={"region_name": region()},
        config_kwargs=config_options(endpoint_url),
        # fsspec would hand out an instance that was made with an earlier environment's credentials.
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    return PyFileSystem(FSSpecHandler(remote)), f"{location.bucket}/{location.prefix}".rstrip("/")
