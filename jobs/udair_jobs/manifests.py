"""The rows of a snapshot and their Parquet form."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from udair_jobs.errors import JobError

Split = Literal["adapt", "gate", "none"]
Status = Literal["OK", "SKIPPED"]


@dataclass(frozen=True)
class ManifestRow:
    """One object of the customer's prefix, as it was when the snapshot was taken.

    Attributes:
        key: Relative to the source prefix.
        etag, size, last_modified: As listed; `etag` pins the version that was looked at.
        width, height: Pixels, upright; 0 where it was skipped before decoding.
        sha256: Of the encoded bytes; empty where they were not read.
        split: Which half of the work may see it; `none` if skipped.
        status: OK, or SKIPPED with `reason` and `detail`.
    """

    key: str
    etag: str
    size: int
    last_modified: str
    width: int = 0
    height: int = 0
    sha256: str = ""
    split: Split = "none"
    status: Status = "OK"
    reason: str = ""
    detail: str = ""

    @property
    def usable(self) -> bool:
        """Whether it is an image that the job may use."""
        return self.status == "OK"


@dataclass(frozen=True)
class ManifestHeader:
    """What a manifest says about itself, so that its summary can be derived from it alone."""

    snapshot_id: str
    source_uri: str
    seconds: float


def digest_of(rows: Iterable[ManifestRow]) -> str:
    """sha256 over (key, content hash) of the usable images, in key order."""
    total = hashlib.sha256()
    for row in sorted((row for row in rows if row.usable), key=lambda row: row.key):
        total.update(f"{row.key}\0{row.sha256}\n".encode())
    return total.hexdigest()


def to_parquet(header: ManifestHeader, rows: Sequence[ManifestRow]) -> bytes:
    """The manifest as one Parquet file."""
    import pyarrow
    from pyarrow import parquet

    types = {"size": pyarrow.int64(), "width": pyarrow.int32(), "height": pyarrow.int32()}
    names = [item.name for item in fields(ManifestRow)]
    schema = pyarrow.schema(
        [(name, types.get(name, pyarrow.string())) for name in names],
        metadata={f"udair.{name}": str(value) for name, value in asdict(header).items()},
    )
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes, *, where: str) -> tuple[ManifestHeader, list[ManifestRow]]:
    """Read what `to_parquet` wrote.

    Raises:
        JobError: CONTROLLER_ERROR when the file at `where` is no manifest.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        header = ManifestHeader(
            metadata["udair.snapshot_id"], metadata["udair.source_uri"], float(metadata["udair.seconds"])
        )
        names = [item.name for item in fields(ManifestRow)]
        return header, [ManifestRow(**row) for row in table.select(names).to_pylist()]
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise JobError(
            "CONTROLLER_ERROR",
            f"{where} is no snapshot manifest ({type(error).__name__}: {error}); take a new snapshot.",
        ) from error
