"""The rows of a snapshot, and their Parquet form.

A prefix may hold a hundred thousand objects and more: `ManifestRows` keeps them as Arrow columns, about
300 bytes each, and makes a `ManifestRow` only of what somebody looks at.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any, Literal, overload

from udair_jobs.errors import JobError

Split = Literal["adapt", "gate", "none"]
Status = Literal["OK", "SKIPPED"]

# Rows that are Python objects at the same time, and rows of one Parquet row group.
_GROUP_ROWS = 4096
_TABLES = "jpeg_table"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One object of the customer's prefix, as it was when the snapshot was taken.

    Attributes:
        key: Relative to the source prefix.
        etag, size, last_modified: As listed; `etag` pins the version that was looked at.
        width, height: Pixels, upright; 0 where it was skipped before decoding.
        sha256: Of the encoded bytes; empty where they were not read.
        split: Which half of the work may see it; `none` if skipped.
        status: OK, or SKIPPED with `reason` and `detail`.
        jpeg_table: The file's luminance quantisation table, 64 bytes row-major; None where it is no JPEG, was not
            read, or the snapshot is of a release that did not keep it.
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
    jpeg_table: bytes | None = None

    @property
    def usable(self) -> bool:
        """Whether it is an image that the job may use."""
        return self.status == "OK"

    def skip(self, reason: str, detail: str) -> ManifestRow:
        """The same object, not used; `detail` is cut to 300 characters."""
        # File names and messages may hold any bytes, Parquet strings may not.
        message = detail.encode("utf-8", "backslashreplace").decode()[:300]
        return replace(self, status="SKIPPED", reason=reason, detail=message)


@dataclass(frozen=True)
class ManifestHeader:
    """What a manifest says about itself, so that its summary can be derived from it alone."""

    snapshot_id: str
    source_uri: str
    seconds: float


class ManifestRows(Sequence[ManifestRow]):
    """Rows in listing order, held as Arrow columns; reads like a tuple, and slices share memory."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @classmethod
    def of(cls, rows: Iterable[ManifestRow]) -> ManifestRows:
        """Hold `rows`; an iterator is consumed a few thousand at a time."""
        import pyarrow

        return cls(pyarrow.Table.from_batches(_batches(rows, _schema()), schema=_schema()))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> ManifestRow: ...

    @overload
    def __getitem__(self, index: slice) -> ManifestRows: ...

    def __getitem__(self, index: int | slice) -> ManifestRow | ManifestRows:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return ManifestRow(**self._table.slice(chosen, 1).to_pylist()[0])
        if chosen.step == 1:
            return ManifestRows(self._table.slice(chosen.start, len(chosen)))
        return ManifestRows(self._table.take(list(chosen)))

    def __iter__(self) -> Iterator[ManifestRow]:
        for batch in self._table.to_batches(max_chunksize=_GROUP_ROWS):
            yield from (ManifestRow(**row) for row in batch.to_pylist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManifestRows) and bool(self._table.equals(other._table))

    __hash__ = None  # type: ignore[assignment]

    def usable(self, split: Split | None = None) -> ManifestRows:
        """The rows with status OK; only those of `split`, if it is given."""
        return ManifestRows(self._table.filter(self._is_usable(split)))

    def skipped(self) -> ManifestRows:
        """The rows with another status than OK."""
        import pyarrow.compute as pc

        return ManifestRows(self._table.filter(pc.not_equal(self._table["status"], "OK")))

    def digest(self) -> str:
        """sha256 over (key, content hash) of the usable images, in key order."""
        total = hashlib.sha256()
        # Arrow compares the bytes of UTF-8, which order like the code points that Python compares.
        named = self._table.select(["key", "sha256"]).filter(self._is_usable()).sort_by("key")
        for batch in named.to_batches(max_chunksize=_GROUP_ROWS):
            for key, sha256 in zip(batch["key"].to_pylist(), batch["sha256"].to_pylist(), strict=True):
                total.update(f"{key}\0{sha256}\n".encode())
        return total.hexdigest()

    def values(self, name: str) -> Iterator[Any]:
        """One column, for decisions that need no whole rows."""
        for batch in self._table.select([name]).to_batches(max_chunksize=_GROUP_ROWS):
            yield from batch.column(0).to_pylist()

    def counts(self, name: str) -> dict[str, int]:
        """How many rows have each value of one column, sorted by value."""
        return {
            item["values"]: item["counts"] for item in sorted(self._table[name].value_counts().to_pylist(), key=str)
        }

    def _is_usable(self, split: Split | None = None) -> Any:
        import pyarrow.compute as pc

        wanted = pc.equal(self._table["status"], "OK")
        return wanted if split is None else pc.and_(wanted, pc.equal(self._table["split"], split))


def to_parquet(header: ManifestHeader, rows: Iterable[ManifestRow]) -> bytes:
    """The manifest as one Parquet file; an iterator is consumed row group by row group."""
    from pyarrow import parquet

    metadata = {f"udair.{name}": str(value) for name, value in asdict(header).items()}
    schema = _schema().with_metadata(metadata)
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for batch in _batches(rows, schema):
            writer.write_batch(batch)
    return buffer.getvalue()


def from_parquet(data: bytes, *, where: str) -> tuple[ManifestHeader, ManifestRows]:
    """Read what `to_parquet` wrote.

    Raises:
        JobError: CONTROLLER_ERROR when the file at `where` is no manifest.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        header = ManifestHeader(
            metadata["udair.snapshot_id"], metadata["udair.source_uri"], float(metadata["udair.seconds"])
        )
        return header, ManifestRows(_with_tables(table).select(_schema().names).cast(_schema()))
    except (pyarrow.ArrowException, KeyError, ValueError) as error:
        raise JobError(
            "CONTROLLER_ERROR",
            f"{where} is no snapshot manifest ({type(error).__name__}: {error}); take a new snapshot.",
        ) from error


def _with_tables(table: Any) -> Any:
    """`table` with the column that snapshots of earlier releases lack."""
    import pyarrow

    if _TABLES in table.column_names:
        return table
    return table.append_column(_TABLES, pyarrow.nulls(len(table), pyarrow.binary()))


def _schema() -> Any:
    import pyarrow

    types = {"size": pyarrow.int64(), "width": pyarrow.int32(), "height": pyarrow.int32(), _TABLES: pyarrow.binary()}
    return pyarrow.schema([(item.name, types.get(item.name, pyarrow.string())) for item in fields(ManifestRow)])


def _batches(rows: Iterable[ManifestRow], schema: Any) -> Iterator[Any]:
    import pyarrow

    waiting = iter(rows)
    while group := list(islice(waiting, _GROUP_ROWS)):
        yield pyarrow.record_batch([[getattr(row, name) for row in group] for name in schema.names], schema=schema)
