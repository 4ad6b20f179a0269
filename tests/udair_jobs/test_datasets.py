"""Reading a snapshot's images: pinned, cropped, bounded, and the same sample every time."""

from __future__ import annotations

import numpy as np
import pytest

from udair.data.images import decode
from udair_jobs.images.datasets import centre_crop, load_images, sample
from udair_jobs.images.manifests import ManifestRow, ManifestRows
from udair_jobs.images.snapshots import take_snapshot
from udair_jobs.specs import LimitsSpec
from udair_jobs.storage import open_storage


@pytest.fixture(params=["folder", "s3", pytest.param("radosgw", marks=pytest.mark.radosgw)])
def source(request, tmp_path):
    if request.param == "folder":
        return open_storage(str(tmp_path / "source"))
    server = request.getfixturevalue(request.param)
    return open_storage(f"s3://{server.bucket()}/cams", endpoint_url=server.endpoint_url)


def snapshot_of(source, tmp_path):
    return take_snapshot(source, open_storage(str(tmp_path / "snapshot")), snapshot_id="s-1")


def rows_of(count, side=100):
    names = [f"{number:05}" for number in range(count)]
    return ManifestRows.of(ManifestRow(name, "e", 1, "t", side, side, sha256=name, split="adapt") for name in names)


def test_images_arrive_in_key_order_with_their_pixels(source, tmp_path, picture):
    for number in range(5):
        source.put(f"{number}.png", picture(number))
    snapshot = snapshot_of(source, tmp_path)

    loaded = load_images(source, snapshot.rows)

    assert loaded.keys == [f"{number}.png" for number in range(5)]
    for number, image in enumerate(loaded.images):
        assert image.dtype == np.uint8
        assert image.shape == (32, 48, 3)
        np.testing.assert_array_equal(image, decode(picture(number)))
    assert loaded.skipped == []


def test_adapt_and_gate_never_share_an_image(source, tmp_path, picture):
    for number in range(7):
        source.put(f"{number}.png", picture(number))
    snapshot = snapshot_of(source, tmp_path)
    adapt = load_images(source, snapshot.split("adapt"))
    gate = load_images(source, snapshot.split("gate"))
    assert set(adapt.keys).isdisjoint(gate.keys)
    assert len(adapt.keys) + len(gate.keys) == 7


def test_objects_that_changed_or_vanished_since_the_snapshot_are_skipped_and_listed(source, tmp_path, picture):
    for number in range(4):
        source.put(f"{number}.png", picture(number))
    snapshot = snapshot_of(source, tmp_path)
    source.put("1.png", picture(11))
    source.delete("2.png")

    loaded = load_images(source, snapshot.rows)

    assert loaded.keys == ["0.png", "3.png"]
    assert [(item.key, item.reason) for item in loaded.skipped] == [
        ("1.png", "CHANGED"),
        ("2.png", "CHANGED"),
    ]


def test_every_image_brings_the_table_of_its_file(source, tmp_path, picture):
    for number, kind in enumerate(("JPEG", "JPEG", "PNG", "JPEG")):
        source.put(f"{number}.{kind.lower()}", picture(number, kind=kind))
    snapshot = snapshot_of(source, tmp_path)
    source.put("0.jpeg", picture(9, kind="JPEG"))  # skipped: the tables must not slip
    loaded = load_images(source, snapshot.rows)
    assert loaded.keys == ["1.jpeg", "2.png", "3.jpeg"]
    assert [table is not None for table in loaded.jpeg_tables] == [True, False, True]
    assert len(loaded.images) == len(loaded.jpeg_tables)


def test_a_store_that_ignores_if_match_is_caught_by_the_content_hash(source, tmp_path, picture):
    class Lenient:
        uri = source.uri

        def get(self, key, *, if_match=None, max_bytes=None):
            return source.get(key, max_bytes=max_bytes)

    source.put("a.png", picture(1))
    snapshot = snapshot_of(source, tmp_path)
    source.put("a.png", picture(2))

    loaded = load_images(Lenient(), snapshot.rows)

    assert loaded.images == []
    assert loaded.skipped[0].reason == "CHANGED"


def test_large_images_are_cropped_around_their_centre(source, tmp_path, picture):
    source.put("wide.png", picture(1, size=(300, 50)))
    loaded = load_images(source, snapshot_of(source, tmp_path).rows, limits=LimitsSpec(max_side=100))
    whole = decode(picture(1, size=(300, 50)))
    np.testing.assert_array_equal(loaded.images[0], whole[:, 100:200])


def test_a_crop_does_not_keep_the_large_original_alive():
    image = np.zeros((100, 100, 3), np.uint8)
    assert centre_crop(image, 50).base is None
    assert centre_crop(image, 100) is image


def test_more_images_than_may_be_held_are_sampled_the_same_way_every_time():
    rows = rows_of(1000)
    chosen = sample(rows, 1024, max_images=400, max_held_bytes=2**40)
    assert len(chosen) == 400
    assert chosen == sample(rows[::-1], 1024, max_images=400, max_held_bytes=2**40)
    assert chosen == sorted(chosen, key=lambda row: row.key)


def test_the_sample_keeps_to_the_memory_it_is_given():
    rows = rows_of(50, side=5000)
    chosen = sample(rows, 1000, max_images=400, max_held_bytes=10 * 3 * 1000 * 1000)
    assert len(chosen) == 10  # 3 MB each after cropping to 1000 x 1000
    assert len(sample(rows, 1000, max_images=400, max_held_bytes=1)) == 1
