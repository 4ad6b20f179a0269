"""A folder of photographs as a domain: names, what is left out, and where the images go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import udair, words
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from udair.data import patches
from udair_jobs.storage import open_storage
from udair_platform.client import Client, ClientError
from udair_platform.client import local_images as local_images_of
from udair_platform.client.local_images import local_images
from udair_platform.contract.usage import Upload

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG picture"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.png", "night/a.png", "été 1.JPG", "..odd.webp", "deep/er/" + "x" * 190 + ".tif"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    return folder


def test_every_image_has_a_name_of_its_own_that_the_platform_takes(photos: Path) -> None:
    found, others = local_images(photos)
    names = [image.name for image in found]
    assert len(set(names)) == len(names) == 5  # the one that begins with a dot is hidden
    assert "a.png" in names
    assert all(len(name) <= 200 and name[0].isalnum() and "/" not in name for name in names)
    assert [path.name for path, _ in others] == ["notes.txt"]
    assert [image.name for image in local_images(photos)[0]] == names, "the same name every time"


def test_what_is_an_image_by_its_name_is_so_for_the_client_and_the_library() -> None:
    assert set(local_images_of.SUFFIXES) == set(patches.SUFFIXES)  # the client loads no torch, so it says it itself


def test_a_folder_without_images_is_said_before_a_domain_is_made(live, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").write_text("x")
    for folder, why in ((tmp_path / "none", "holds no image"), (tmp_path / "gone", "is no folder here")):
        _, err = udair(live, "domain", "create", "foggy-cams", "--source", str(folder), code=1)
        assert why in err
        with pytest.raises(ClientError, match=why):
            local_images(folder)
    out, _ = udair(live, "domain", "list")
    assert "foggy-cams" not in out


def test_a_folder_is_a_domain(live, photos: Path) -> None:
    out, err = udair(live, "domain", "create", "foggy-cams", "--source", str(photos))
    assert ["uploaded", "4", "images,", "0.0", "MB;", "2", "files", "left", "out"] in words(out)
    assert "notes.txt: its name is no image's" in err
    assert "empty.png: it has 0 bytes" in err
    kept = live.plane.store.at("t/acme/d/foggy-cams/images")
    assert {kept.get(item.key) for item in kept.list()} == {
        path.read_bytes() for path in photos.rglob("[!.]*") if path.is_file() and path.read_bytes().startswith(PNG)
    }
    out, _ = udair(live, "domain", "check", "foggy-cams")
    assert "4 objects" in out
    (photos / "b.png").write_bytes(PNG)
    out, _ = udair(live, "domain", "upload", "foggy-cams", str(photos))
    assert "5 images" in out
    udair(live, "run", "-d", "foggy-cams", "--steps", "5")


def test_a_domain_with_a_bucket_takes_no_folder(live, photos: Path) -> None:
    live.plane.domain()
    _, err = udair(live, "domain", "upload", "foggy-cams", str(photos), code=1)
    assert "put them there" in err


def test_forms_of_an_object_store_get_no_key_of_ours(make_plane, s3, serve, photos: Path) -> None:
    bucket = s3.bucket()
    plane = make_plane(store_uri=f"s3://{bucket}/platform", store_endpoint_url=s3.endpoint_url)
    domain = Client(serve(plane.client.app), plane.admin_token).domains.create("foggy-cams")
    seen: list[tuple[int, int]] = []
    done = domain.upload(photos, on_progress=lambda sent, of: seen.append((sent, of)))
    assert (done.images, len(done.left_out)) == (4, 2)
    assert seen[-1] == (4, 5)
    kept = open_storage(f"s3://{bucket}/platform/t/acme/d/foggy-cams/images", endpoint_url=s3.endpoint_url)
    assert len(list(kept.list())) == 4


def test_a_form_leads_elsewhere_and_takes_no_key_of_ours_there(live, serve) -> None:
    seen: list[dict[str, str]] = []

    async def store(request: Request) -> Response:
        seen.append(dict(request.headers))
        await request.body()
        return Response(status_code=204)

    elsewhere = serve(Starlette(routes=[Route("/bucket", store, methods=["POST"])]))
    form = Upload(name="a.png", url=f"{elsewhere}/bucket", fields={}, expires_time=NOW, max_bytes=10)
    live.client()._transport.upload(form, b"x")
    assert len(seen) == 1
    assert "authorization" not in seen[0]


def test_a_place_that_cannot_be_read_is_said_when_the_domain_is_made(make_plane, s3, serve) -> None:
    plane = make_plane(s3_endpoint_url=s3.endpoint_url)
    given = {"UDAIR_URL": serve(plane.client.app), "UDAIR_API_KEY": plane.admin_token}
    out, err = udair(None, "domain", "create", "foggy-cams", "--source", "s3://no-such-bucket-here/cams", **given)
    assert "domain  foggy-cams" in out.replace("domain       ", "domain  ")
    assert "warning: a job could not read its images: list: " in err
    assert "no-such-bucket-here" in err
    _, err = udair(
        None, "domain", "create", "other-cams", "--source", "s3://no-such-bucket-here/cams", "--no-check", **given
    )
    assert "warning" not in err
