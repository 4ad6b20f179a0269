"""Images in as bytes, paths, PIL and NumPy; out the same ways; galleries."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from udair_platform.client import ClientError, Gallery, Restored
from udair_platform.client.gallery import GalleryItem
from udair_platform.client.pictures import encoded


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_an_array_and_a_pil_image_lose_nothing_on_the_way(photo: np.ndarray) -> None:
    assert (pixels(encoded(photo)) == photo).all()
    assert (pixels(encoded(photo / 255.0)) == photo).all()
    assert (pixels(encoded(photo[..., 0])) == photo[..., 0]).all()
    assert (pixels(encoded(Image.fromarray(photo))) == photo).all()


def test_bytes_and_files_are_sent_as_they_are(tmp_path) -> None:
    path = tmp_path / "été 1.jpg"
    path.write_bytes(b"\xff\xd8 as it is")
    assert encoded(path) == encoded(str(path)) == encoded(path.read_bytes()) == b"\xff\xd8 as it is"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((2, 3, 4), np.uint8), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3, 3), np.uint8), "shape"),
        (np.full((2, 2, 3), 1.5), "from 1.5 to 1.5"),
        (np.full((2, 2, 3), np.nan), "floating point in"),
        (np.zeros((2, 2, 3), np.int64), "int64"),
        ("/nowhere/in.png", "cannot be read"),
        (3, "int is no image"),
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_sent(image: object, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        encoded(image)  # type: ignore[arg-type]


def test_a_restored_image_is_bytes_a_file_pil_or_numpy(photo: np.ndarray, tmp_path) -> None:
    headers = {"x-adapter-version": "3", "x-fallback": "source", "server-timing": "decode;dur=1.5, model;dur=70"}
    restored = Restored(encoded(photo), headers)
    assert (restored.numpy() == photo).all()
    assert restored.pil().size == (7, 5)
    assert restored.save(tmp_path / "out.png").read_bytes() == restored.image
    assert (restored.version, restored.fallback) == ("3", "source")
    assert restored.timing_ms == {"decode": 1.5, "model": 70.0}
    assert Restored(b"", {"x-fallback": "none"}).fallback is None


def test_arrays_and_paths_are_restored_by_a_platform(live, photo: np.ndarray, tmp_path) -> None:
    with live.client() as client:
        live.plane.domain()
        domain = client.domains.get("foggy-cams")
        assert domain.restore(photo).image == b"restored " + encoded(photo)
        images = {"a": photo, "b": tmp_path / "none.png", "c": Image.fromarray(photo)}
        answers = dict(client.restore_many(images.items(), "foggy-cams", at_once=2))
    assert answers["a"].image == answers["c"].image
    assert isinstance(answers["b"], ClientError)


def test_a_gallery_is_read_shown_and_saved(live, gallery, tmp_path) -> None:
    live.plane.launcher.pictures = gallery
    with live.client() as client:
        version = client.domains.create("foggy-cams", "s3://acme-photos/cams").adapt().result(timeout_s=30)
        found = version.gallery()
    assert [item.key for item in found.items] == ["cam 1/été.png", "cam 2/b.png"]
    picture = found.picture(found.items[0], "adapted")
    assert picture is not None
    assert picture.size == (12, 8)
    assert found.picture(found.items[0], "previous") is None
    page = found.save(tmp_path / "g.html").read_text()
    assert page.count("<img") == 6
    assert "cam 1/été.png" in found._repr_html_()


def test_a_gallery_keeps_names_out_of_the_markup() -> None:
    item = GalleryItem("<script>alert(1)</script>", {"camera": "c.webp"}, 1, 1, 0.0, None)
    assert "<script>" not in Gallery("cams@1", [item], {"c.webp": b"x"}).html()


@pytest.mark.parametrize("index", [b"{broken", b"[]", b'{"images": [{"key": 1}]}'])
def test_an_index_that_is_none_is_said(index: bytes) -> None:
    with pytest.raises(ClientError, match="cannot be read"):
        GalleryItem.of_index(index)
