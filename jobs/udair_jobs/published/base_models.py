"""Base models on storage: brought to a local folder, and published from one, manifest last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from udair.errors import BundleError
from udair.weights import MANIFEST, packaged, read_manifest
from udair_jobs.errors import JobError, NotFound
from udair_jobs.storage import PATIENCE_S, AccessDenied, InvalidKey, PatientStorage, Storage, open_storage
from udair_jobs.storage.location import parse

PACKAGED = "packaged:"
# The largest size, `base`, has about 40 MB of weights; a prefix far beyond that is a wrong prefix.
MAX_FILE_BYTES = 2 * 2**30
MAX_FILES = 100


@contextmanager
def local_folder(base_uri: str, *, endpoint_url: str | None = None, patience_s: float = PATIENCE_S) -> Iterator[Path]:
    """The folder of the base model at `base_uri`; one on S3 is downloaded, and removed at the end.

    Args:
        base_uri: `packaged:NAME`, a folder, or `s3://bucket/prefix`.
        endpoint_url: S3 endpoint, if not AWS.
        patience_s: How long to wait for a store that does not answer.

    Raises:
        JobError: INVALID_SPEC when there is no base model, ACCESS_DENIED when it may not be read.
        StorageUnavailable: The store does not answer.
    """
    with TemporaryDirectory(prefix="udair-base-") as scratch:
        try:
            if base_uri.startswith(PACKAGED):
                folder = packaged(base_uri.removeprefix(PACKAGED))
            else:
                folder = parse(base_uri).folder or _download(
                    PatientStorage(open_storage(base_uri, endpoint_url=endpoint_url), patience_s), Path(scratch)
                )
        except (BundleError, InvalidKey) as error:
            raise JobError("INVALID_SPEC", f"base_uri {base_uri}: {error}") from error
        except (AccessDenied, NotFound) as error:
            raise JobError("ACCESS_DENIED", f"cannot read the base model: {error}") from error
        yield folder


def digest_at(folder: Path, base_uri: str) -> str:
    """The digest that the base model in `folder` says it has.

    Raises:
        JobError: INVALID_SPEC when there is no readable manifest.
    """
    try:
        return str(read_manifest(folder)["digest"])
    except (BundleError, KeyError) as error:
        raise JobError("INVALID_SPEC", f"base_uri {base_uri} is no base model: {error}") from error


def checked_digest(folder: Path, base_uri: str, expected: str) -> str:
    """The digest of the base model in `folder`, if it is the expected one.

    Raises:
        JobError: INVALID_SPEC naming both digests.
    """
    found = digest_at(folder, base_uri)
    if found != expected:
        raise JobError(
            "INVALID_SPEC",
            f"the base model at {base_uri} has digest {found}; the job was made for {expected}. "
            "Create the job again for the base model that is there, or restore the one it was made for.",
        )
    return found


def publish_base_model(folder: Path, target: Storage) -> None:
    """Copy the base model in `folder` to `target`, its manifest last.

    Raises:
        BundleError: There is no base model in `folder`.
        PreconditionFailed: `target` holds a committed base model already; nothing was overwritten.
    """
    manifest = read_manifest(folder)
    if not target.exists(MANIFEST):
        for name in manifest["files"]:
            target.put(name, (folder / name).read_bytes())
    target.put(MANIFEST, (folder / MANIFEST).read_bytes(), if_absent=True)


def _download(store: Storage, folder: Path) -> Path:
    for number, item in enumerate(store.list()):
        if number >= MAX_FILES:
            raise BundleError(f"{store.uri} holds more than {MAX_FILES} objects; expected one base model.")
        if "/" not in item.key:  # a bundle is flat; whatever lies deeper is not part of it
            data = store.get(item.key, if_match=item.etag, max_bytes=MAX_FILE_BYTES)
            (folder / item.key).write_bytes(data)
    return folder
