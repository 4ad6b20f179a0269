"""What earlier runs over the same output did, and what this one does: kept so that nothing is done twice."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import uuid4

from udair_jobs.errors import NotFound, StorageError
from udair_jobs.restore_batch.rows import BatchRow, rows_from_parquet, rows_to_parquet
from udair_jobs.storage import Storage

log = logging.getLogger(__name__)

REPORT = "report.parquet"
PARTS = "parts"
PART_ROWS = 1000
PART_S = 30.0
# Restored in the same way again, these bytes are as little an image as before.
HOPELESS = ("NOT_AN_IMAGE", "UNSUPPORTED", "TRUNCATED", "TOO_SMALL")


class BatchReport:
    """Rows by key. Those of this run are written in parts as they come, and as one report at the end.

    Args:
        folder: `_udair/` below the restored images.
    """

    def __init__(self, folder: Storage) -> None:
        self._folder = folder
        self._parts = folder.at(PARTS)
        self._rows: dict[str, BatchRow] = {}
        self._unwritten: list[BatchRow] = []
        self._written_at = time.monotonic()
        self.earlier = self._read()

    def add(self, rows: Iterable[BatchRow]) -> None:
        """Count rows of this run; from time to time they are written."""
        for row in rows:
            self._rows[row.key] = row
            self._unwritten.append(row)
        if len(self._unwritten) >= PART_ROWS or time.monotonic() - self._written_at >= PART_S:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet, for a successor should this process die."""
        rows, self._unwritten, self._written_at = self._unwritten, [], time.monotonic()
        if not rows:
            return
        try:
            self._parts.put(f"{uuid4().hex}.parquet", rows_to_parquet(rows))
        except StorageError as error:
            log.warning("a part of the report was not written: %s", error)
            self._unwritten = rows

    def rows(self, keys: Iterable[str]) -> list[BatchRow]:
        """The rows of this run, in the order of `keys`."""
        return [self._rows[key] for key in keys if key in self._rows]

    def close(self, rows: Iterable[BatchRow]) -> str:
        """Write the report, which replaces parts and earlier reports; returns its URI."""
        self._folder.put(REPORT, rows_to_parquet(rows))
        for part in list(self._parts.list()):
            self._parts.delete(part.key)
        return f"{self._folder.uri}/{REPORT}"

    def _read(self) -> dict[str, BatchRow]:
        """What need not be done again, by output key: rows of the last report, then of parts that no report replaced."""
        earlier: dict[str, BatchRow] = {}
        with suppress(NotFound):
            data = self._folder.get(REPORT)
            earlier |= _by_output(rows_from_parquet(data, where=f"{self._folder.uri}/{REPORT}"))
        for part in list(self._parts.list()):
            with suppress(NotFound):  # another run has just put it into its report
                data = self._parts.get(part.key)
                earlier |= _by_output(rows_from_parquet(data, where=f"{self._parts.uri}/{part.key}"))
        return earlier


def _by_output(rows: Iterable[BatchRow]) -> dict[str, BatchRow]:
    return {row.output_key: row for row in rows if row.done or row.reason in HOPELESS}
