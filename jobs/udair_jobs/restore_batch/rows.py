"""The report of a batch restoration: one row an object, as Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_type_hints

from udair_jobs.errors import JobError

BatchState = Literal["RESTORED", "UNCHANGED", "SKIPPED", "FAILED"]


@dataclass(frozen=True, slots=True)
class BatchRow:
    """What became of one object.

    Attributes:
        key, source_etag, source_bytes, source_sha256: The object that was read.
        state: RESTORED now or UNCHANGED since an earlier run; SKIPPED (no usable image) or FAILED, with why.
        reason, detail: Of SKIPPED and FAILED; a RESTORED file that could not hold all of its original says what in detail.
        output_key, output_etag, output_bytes: The restored file.
        recipe: Digest of everything that decides the output besides the object: model, adapter, format, tiles.
        width, height: Pixels, upright.
        degradation: The source class that the image looks most like.
        code: The codebook entry that most of the image has.
        adapted: Whether the image was inside the adapter's scope.
        niqe_before, niqe_after: Naturalness, lower is better; None where it was not computed.
        forward_s, seconds: Of the model alone, and from the object's arrival to its upload.
        worker: Process that restored it.
    """

    key: str
    source_etag: str = ""
    source_bytes: int = 0
    source_sha256: str = ""
    state: BatchState = "FAILED"
    reason: str = ""
    detail: str = ""
    output_key: str = ""
    output_etag: str = ""
    output_bytes: int = 0
    recipe: str = ""
    width: int = 0
    height: int = 0
    degradation: str = ""
    code: int = -1
    adapted: bool = False
    niqe_before: float | None = None
    niqe_after: float | None = None
    forward_s: float = 0.0
    seconds: float = 0.0
    worker: str = ""

    @property
    def done(self) -> bool:
        """Whether its restored file is in place."""
        return self.state in ("RESTORED", "UNCHANGED")


def rows_to_parquet(rows: Iterable[BatchRow]) -> bytes:
    """One Parquet file of `rows`, in their order."""
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=_schema())
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def rows_from_parquet(data: bytes, *, where: str) -> list[BatchRow]:
    """Read what `rows_to_parquet` wrote.

    Raises:
        JobError: CONTROLLER_ERROR when the file at `where` is no report.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(data)).select(_schema().names)
        return [BatchRow(**row) for row in table.cast(_schema()).to_pylist()]
    except (pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise JobError(
            "CONTROLLER_ERROR",
            f"{where} is no batch report ({type(error).__name__}: {error}); delete it and run again.",
        ) from error


def _schema() -> Any:
    import pyarrow

    types = {int: pyarrow.int64(), bool: pyarrow.bool_(), float: pyarrow.float64(), float | None: pyarrow.float64()}
    hints = get_type_hints(BatchRow)
    return pyarrow.schema([(item.name, types.get(hints[item.name], pyarrow.string())) for item in fields(BatchRow)])
