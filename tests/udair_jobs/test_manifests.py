"""A manifest as columns: it reads like a tuple of rows, and its digest is what it always was."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import pytest
from pyarrow import parquet

from udair_jobs.errors import JobError
from udair_jobs.images import manifests
from udair_jobs.images.manifests import ManifestHeader, ManifestRow, ManifestRows, from_parquet, to_parquet

HEADER = ManifestHeader("s-1", "s3://bucket/cams", 1.5)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    # Twenty rows then cross as many borders as a hundred thousand do.
    monkeypatch.setattr(manifests, "_GROUP_ROWS", 3)


@pytest.fixture
def rows():
    """Twenty rows, not in key order, every fourth skipped."""
    made = []
    for number in range(20):
        key = f"{(7 * number) % 20:02}-日本.png"
        row = ManifestRow(key, f"e{number}", number, "t", 8, 9, f"{number:064x}", "gate" if number % 3 else "adapt")
        if number % 4 == 0:
            row = replace(
                row, split="none", status="SKIPPED", reason="TRUNCATED" if number else "DUPLICATE", detail="d"
            )
        made.append(row)
    return made


def test_rows_come_back_as_they_were_put_in(rows):
    held = ManifestRows.of(iter(rows))
    assert list(held) == rows
    assert len(held) == 20
    assert [held[0], held[7], held[-1]] == [rows[0], rows[7], rows[-1]]
    for part in (slice(4, 9), slice(None, None, -1), slice(1, None, 3), slice(30, 40)):
        assert list(held[part]) == rows[part]
    with pytest.raises(IndexError):
        held[20]


def test_parquet_keeps_everything(rows):
    header, again = from_parquet(to_parquet(HEADER, iter(rows)), where="x")
    assert header == HEADER
    assert again == ManifestRows.of(rows)
    assert again != ManifestRows.of(rows[1:])


def test_a_manifest_of_a_release_without_tables_still_reads(rows):
    rows[1] = replace(rows[1], jpeg_table=bytes(64))
    table = parquet.read_table(io.BytesIO(to_parquet(HEADER, rows)))
    assert table["jpeg_table"].to_pylist()[:3] == [None, bytes(64), None]
    earlier = io.BytesIO()
    parquet.write_table(table.drop_columns(["jpeg_table"]), earlier)
    _, again = from_parquet(earlier.getvalue(), where="x")
    assert list(again) == [replace(row, jpeg_table=None) for row in rows]
    assert again.digest() == ManifestRows.of(rows).digest()


def test_a_manifest_without_rows_is_one_too():
    _, again = from_parquet(to_parquet(HEADER, []), where="x")
    assert list(again) == []
    assert again.digest() == hashlib.sha256().hexdigest()


def test_the_digest_is_over_key_and_content_of_usable_rows_in_key_order(rows):
    expected = hashlib.sha256()
    for row in sorted((row for row in rows if row.status == "OK"), key=lambda row: row.key):
        expected.update(f"{row.key}\0{row.sha256}\n".encode())
    assert ManifestRows.of(rows).digest() == expected.hexdigest()
    assert ManifestRows.of(rows[::-1]).digest() == expected.hexdigest()
    # Stays what it was when snapshots were first written: customers' results refer to it.
    assert ManifestRows.of([replace(rows[1], key="a", sha256="b")]).digest() == hashlib.sha256(b"a\0b\n").hexdigest()


def test_rows_are_selected_and_counted_by_column(rows):
    held = ManifestRows.of(rows)
    assert list(held.usable()) == [row for row in rows if row.usable]
    assert list(held.usable("gate")) == [row for row in rows if row.usable and row.split == "gate"]
    assert list(held.skipped()) == [row for row in rows if not row.usable]
    assert held.skipped().counts("reason") == {"DUPLICATE": 1, "TRUNCATED": 4}
    assert list(held.values("size")) == list(range(20))


@pytest.mark.parametrize("data", [b"", b"no parquet at all"])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(JobError, match="x is no snapshot manifest"):
        from_parquet(data, where="x")
