"""Pinning a customer's prefix: what is listed, what is refused and why, and that it never changes."""

from __future__ import annotations

import io
import itertools
import threading

import odd_images
import pytest
from PIL import Image
from pyarrow import parquet

from udair_jobs.errors import JobCancelled, JobError
from udair_jobs.images.snapshots import MANIFEST, REASONS, SUMMARY, assign_splits, load_snapshot, take_snapshot
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import StorageUnavailable, open_storage


@pytest.fixture(params=["folder", "s3", pytest.param("radosgw", marks=pytest.mark.radosgw)])
def source(request, tmp_path):
    if request.param == "folder":
        return open_storage(str(tmp_path / "source"))
    server = request.getfixturevalue(request.param)
    return open_storage(f"s3://{server.bucket()}/cams", endpoint_url=server.endpoint_url)


@pytest.fixture
def target(tmp_path):
    return open_storage(str(tmp_path / "snapshot"))


def take(source, target, **limits):
    return take_snapshot(source, target, snapshot_id="s-1", limits=LimitsSpec(**limits))


def by_key(snapshot):
    return {row.key: row for row in snapshot.rows}


def test_every_bad_object_is_counted_and_listed_and_none_is_fatal(source, target, picture, bomb):
    good = {
        "plain.png": picture(1),
        "a folder/my photo (1).jpg": picture(2, kind="JPEG"),
        "ünïcode/日本.png": picture(3),
        "sixteen.png": picture(4, mode="I;16"),
        "grey.jpg": picture(5, kind="JPEG", mode="L"),
        "rgba.png": picture(6, mode="RGBA"),
        "cmyk.jpg": picture(7, kind="JPEG", mode="CMYK"),
        "rotated.jpg": picture(8, size=(48, 32), kind="ROTATED"),
    }
    bad = {
        "notes.txt": (b"hello", "NOT_AN_IMAGE"),
        "half.jpg": (picture(9, size=(200, 200), kind="JPEG")[:-900], "TRUNCATED"),
        "bomb.png": (bomb, "TOO_MANY_PIXELS"),
        "scans.jpg": (odd_images.many_scans(500), "TOO_COSTLY"),
        "moving.gif": (b"GIF89a", "UNSUPPORTED"),
        "dot.png": (picture(10, size=(1, 1)), "TOO_SMALL"),
        "void.png": (b"", "EMPTY_OBJECT"),
        "zz-copy.png": (picture(1), "DUPLICATE"),
        "huge.bmp": (picture(11, size=(200, 200), kind="BMP"), "TOO_MANY_BYTES"),
    }
    for key, data in good.items():
        source.put(key, data)
    for key, (data, _) in bad.items():
        source.put(key, data)

    snapshot = take(source, target, max_image_bytes=100_000)

    rows = by_key(snapshot)
    assert {key for key, row in rows.items() if row.usable} == set(good)
    assert {key: row.reason for key, row in rows.items() if not row.usable} == {
        key: reason for key, (_, reason) in bad.items()
    }
    assert (rows["rotated.jpg"].width, rows["rotated.jpg"].height) == (32, 48)
    assert rows["zz-copy.png"].detail == "has the same content as plain.png"
    assert "900000000 pixels" in rows["bomb.png"].detail
    summary = snapshot.summary
    assert (summary.objects, summary.images, summary.skipped) == (17, 8, 9)
    assert summary.adapt_images + summary.gate_images == 8
    assert summary.skipped_by_reason == {reason: 1 for _, reason in bad.values()}
    assert set(summary.skipped_by_reason) <= set(REASONS)
    assert {item.key for item in snapshot.skipped()} == set(bad)


def test_the_manifest_is_parquet_with_the_promised_columns(source, target, picture):
    source.put("a.png", picture(1))
    source.put("b.png", picture(2))
    take(source, target)

    table = parquet.read_table(io.BytesIO(target.get(MANIFEST)))

    assert table.column_names == [
        "key",
        "etag",
        "size",
        "last_modified",
        "width",
        "height",
        "sha256",
        "split",
        "status",
        "reason",
        "detail",
        "jpeg_table",
    ]
    assert sorted(table["split"].to_pylist()) == ["adapt", "gate"]
    assert table["etag"].to_pylist()[0] == source.head("a.png").etag


def test_the_manifest_keeps_the_quantisation_table_of_every_jpeg(source, target, picture):
    source.put("a.jpg", picture(1, kind="JPEG"))
    source.put("b.png", picture(2))
    source.put("c.jpg", b"\xff\xd8\xff no picture")
    rows = by_key(take(source, target))
    with Image.open(io.BytesIO(picture(1, kind="JPEG"))) as image:
        assert rows["a.jpg"].jpeg_table == bytes(image.quantization[0])
    assert (rows["b.png"].jpeg_table, rows["c.jpg"].jpeg_table) == (None, None)


def test_folder_markers_are_not_objects(s3, target, picture):
    bucket = s3.bucket()
    s3.put(bucket, "cams/", b"")
    s3.put(bucket, "cams/day/", b"")
    s3.put(bucket, "cams/day/a.png", picture(1))

    snapshot = take(open_storage(f"s3://{bucket}/cams", endpoint_url=s3.endpoint_url), target)

    assert [row.key for row in snapshot.rows] == ["day/a.png"]


def test_an_empty_prefix_is_data_empty(source, target):
    with pytest.raises(JobError, match="holds no object") as caught:
        take(source, target)
    assert caught.value.reason == "DATA_EMPTY"
    assert not target.exists(MANIFEST)
    assert not target.exists(SUMMARY)


def test_a_prefix_of_non_images_is_data_unreadable_and_says_what_was_there(source, target):
    source.put("a.txt", b"hello")
    source.put("b.csv", b"1,2")
    with pytest.raises(JobError, match=r"none of the 2 objects .* 2 NOT_AN_IMAGE \(first: a.txt") as caught:
        take(source, target)
    assert caught.value.reason == "DATA_UNREADABLE"
    assert [item.key for item in caught.value.skipped] == ["a.txt", "b.csv"]
    assert load_snapshot(target) is None


def test_a_missing_bucket_is_called_missing(s3, target):
    source = open_storage("s3://no-such-bucket-here/cams", endpoint_url=s3.endpoint_url)
    with pytest.raises(JobError, match="bucket 'no-such-bucket-here' does not exist") as caught:
        take(source, target)
    assert caught.value.reason == "SOURCE_NOT_FOUND"


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_wrong_credentials_are_access_denied(strict_s3, target, monkeypatch, code):
    access_key, secret = strict_s3.refused_as(code)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    source = open_storage("s3://guarded/cams", endpoint_url=strict_s3.endpoint_url)

    with pytest.raises(JobError, match=code) as caught:
        take(source, target)

    assert caught.value.reason == "ACCESS_DENIED"
    assert secret not in str(caught.value)


def test_a_store_that_dies_half_way_commits_nothing(source, target, picture):
    class Dying:
        uri = source.uri

        def __init__(self):
            self.reads = itertools.count()

        def __getattr__(self, name):
            return getattr(source, name)

        def get(self, key, **options):
            if next(self.reads) >= 1:
                raise StorageUnavailable(key, "the connection failed.")
            return source.get(key, **options)

    for number in range(6):
        source.put(f"{number}.png", picture(number))
    with pytest.raises(StorageUnavailable):
        take(Dying(), target)
    assert not target.exists(MANIFEST)


def test_an_object_that_changes_between_listing_and_reading_is_skipped_as_changed(source, target, picture):
    class Racing:
        """The real store; somebody overwrites b.png right after it was listed, and deletes c.png."""

        uri = source.uri

        def list(self, prefix=""):
            listed = list(source.list(prefix))
            source.put("b.png", picture(99))
            source.delete("c.png")
            return iter(listed)

        def __getattr__(self, name):
            return getattr(source, name)

    for number, key in enumerate(("a.png", "b.png", "c.png")):
        source.put(key, picture(number))

    rows = by_key(take(Racing(), target))

    assert rows["a.png"].usable
    assert (rows["b.png"].reason, rows["c.png"].reason) == ("CHANGED", "CHANGED")


def test_a_committed_snapshot_is_used_again_and_never_rewritten(source, target, picture):
    source.put("a.png", picture(1))
    first = take(source, target)
    written = [target.head(name).etag for name in (MANIFEST, SUMMARY)]
    source.put("b.png", picture(2))

    second = take(source, target)

    assert second == first == load_snapshot(target)
    assert [target.head(name).etag for name in (MANIFEST, SUMMARY)] == written


def test_an_attempt_killed_before_the_summary_is_finished_by_the_next_one(source, target, picture):
    source.put("a.png", picture(1))
    first = take(source, target)
    target.delete(SUMMARY)  # as if it had been killed between the two files
    assert load_snapshot(target) is None
    source.put("b.png", picture(2))

    assert take(source, target) == first


def test_two_attempts_at_once_end_with_one_snapshot(source, target, picture):
    for number in range(6):
        source.put(f"{number}.png", picture(number))
    results = []
    threads = [threading.Thread(target=lambda: results.append(take(source, target))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(result == results[0] == load_snapshot(target) for result in results)


def test_an_altered_manifest_is_refused(source, target, tmp_path, picture):
    source.put("a.png", picture(1))
    take(source, target)
    other = open_storage(str(tmp_path / "other"))
    source.put("b.png", picture(2))
    take(source, other)
    target.put(MANIFEST, other.get(MANIFEST))

    with pytest.raises(JobError, match="somebody altered it"):
        load_snapshot(target)


def test_the_snapshot_stops_at_once_when_the_job_is_cancelled(source, target, picture):
    for number in range(8):
        source.put(f"{number}.png", picture(number))

    def cancel(share, counters):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        take_snapshot(source, target, snapshot_id="s", on_progress=cancel)
    assert not target.exists(MANIFEST)


def test_more_objects_than_allowed_are_sampled_and_the_rest_listed(source, target, picture):
    for number in range(8):
        source.put(f"{number}.png", picture(number))
    snapshot = take(source, target, max_images=5)
    assert snapshot.summary.images == 5
    assert snapshot.summary.skipped_by_reason == {"OVER_LIMIT": 3}


@pytest.mark.parametrize(("images", "gate"), [(1, 0), (2, 1), (3, 1), (5, 2), (40, 16)])
def test_splits_are_disjoint_keep_their_share_and_ignore_order(images, gate):
    hashes = [f"{number:064x}" for number in range(images)]
    splits = assign_splits(hashes, 0.4)
    assert list(splits.values()).count("gate") == gate
    assert set(splits) == set(hashes)
    assert assign_splits(hashes[::-1], 0.4) == splits


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_both_splits_have_an_image_however_extreme_the_share(share):
    splits = assign_splits(["a", "b", "c"], share)
    assert {"adapt", "gate"} == set(splits.values())


def test_file_names_that_are_no_unicode_are_listed_and_skipped(tmp_path, target, picture):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "ok.png").write_bytes(picture(1))
    with open(bytes(folder) + b"/bad-\xff.png", "wb") as file:
        file.write(picture(2))
    rows = by_key(take(open_storage(str(folder)), target))
    assert rows["ok.png"].usable
    assert rows["bad-\\udcff.png"].reason == "UNREADABLE"
