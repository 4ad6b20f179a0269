"""Receipts: a control plane and a real data plane of one signing key; what is signed, checked, and refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from command_line import udair
from data_plane import Plane as DataPlane
from data_plane import make_adapter, make_image, until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from udair.data.images import encode_png
from udair_platform.client import Client, NotFound, Receipt
from udair_platform.local.ports import free_ports
from udair_platform.signing import Purpose, decode, encode, seal

PHOTO = encode_png(make_image(3))


@pytest.fixture(scope="module")
def data_planes(tmp_path_factory):
    """Makes data planes; a backbone takes a second, so that all tests of one key share one."""
    made = []
    yield lambda key, clock: made.append(DataPlane(tmp_path_factory.mktemp("data"), key=key, clock=clock)) or made[-1]
    for one in made:
        one.backbone.shutdown()


@dataclass
class Platform:
    """A control plane over HTTP, as the command line looks for one."""

    plane: Any
    url: str


@pytest.fixture
def live(make_plane, data_planes, serve):
    (port,) = free_ports(1)
    plane = make_plane(serve_url=f"http://127.0.0.1:{port}")
    plane.domain()
    behind = data_planes(plane.signing_key, lambda: plane.clock().timestamp())
    behind.route("foggy-cams", make_adapter(0.05), 1)
    serve(behind.app, port)
    return Platform(plane, serve(plane.client.app)), behind


@pytest.fixture
def both(live):
    """A control plane with the domain `foggy-cams`, a client, and the data plane that serves it."""
    platform, behind = live
    with Client(platform.url, platform.plane.admin_token) as client:
        yield platform.plane, client, behind


def sealed(plane, receipt: Receipt, key: bytes | None = None) -> str:
    return seal(key or plane.signing_key, Purpose.RECEIPT, receipt.model_dump_json().encode())


def test_every_answer_has_a_receipt_of_what_made_it_and_of_its_bytes(both) -> None:
    _, client, behind = both
    restored = client.restore(PHOTO, "foggy-cams")
    receipt = restored.receipt
    entry = behind.entry("foggy-cams", make_adapter(0.05), 1)
    assert (receipt.tenant, receipt.domain, receipt.version) == ("acme", "foggy-cams", 1)
    assert (receipt.adapter_digest, receipt.base_digest) == (entry["adapter_digest"], behind.config.base_digest)
    assert (receipt.tone, receipt.restoration, receipt.fallback) == ("keep", "model", "none")
    assert receipt.request_id == restored.headers["x-request-id"]
    assert receipt.matches(restored.image)
    assert not receipt.matches(restored.image[:-1] + b"\0")

    behind.route("foggy-cams", None, passthrough="the base model loses against doing nothing")
    as_it_came = client.restore(PHOTO, "foggy-cams", test_time=True).receipt
    assert (as_it_came.version, as_it_came.adapter_digest) == (0, None)
    assert (as_it_came.restoration, as_it_came.test_time) == ("none", False)


def test_what_another_version_answers_is_said_by_its_own_digest(both) -> None:
    _, client, behind = both
    behind.route("foggy-cams", make_adapter(0.1), 2, data=b"damaged")
    receipt = client.restore(PHOTO, "foggy-cams").receipt
    served = {"source": (0, None), "previous": (1, behind.entry("foggy-cams", make_adapter(0.05), 1)["adapter_digest"])}
    assert receipt.fallback in served
    assert (receipt.version, receipt.adapter_digest) == served[receipt.fallback]


def test_the_platform_says_whether_it_signed_it_and_what_the_version_is_now(both) -> None:
    plane, client, _ = both
    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    number = plane.version(domain)
    with plane.database.read() as state:
        version = state.versions.get("acme", domain.id, number)
    mine = client.restore(PHOTO, "foggy-cams")
    true = mine.receipt.model_copy(
        update={"adapter_digest": version.adapter_digest, "base_digest": version.base_digest, "version": number}
    )
    check = client.verify_receipt(sealed(plane, true))
    assert (check.genuine, check.agrees, check.verdict, check.state) == (True, True, "PASSED", "ACTIVE")
    assert (check.adapter_digest, check.receipt.sha256) == (version.adapter_digest, mine.receipt.sha256)

    # The data plane's adapter is none that this control plane published.
    other = client.verify_receipt(mine.receipt_text)
    assert (other.genuine, other.agrees) == (True, False)
    gone = client.verify_receipt(sealed(plane, true.model_copy(update={"version": 99})))
    assert (gone.genuine, gone.agrees, gone.state) == (True, None, None)

    data = bytearray(decode(mine.receipt_text))
    data[-3] ^= 1
    forged = [encode(bytes(data)), sealed(plane, true, b"x" * 32), "AAAA", "no receipt", mine.receipt_text + "A"]
    for text in forged:
        check = client.verify_receipt(text)
        assert (check.genuine, check.receipt, check.agrees) == (False, None, None), text
    # What is signed for another purpose is no receipt.
    trial = seal(plane.signing_key, Purpose.TRIAL, true.model_dump_json().encode())
    assert not client.verify_receipt(trial).genuine


def test_a_receipt_is_answered_to_its_tenant_alone(both) -> None:
    plane, client, _ = both
    receipt = client.restore(PHOTO, "foggy-cams").receipt
    with pytest.raises(NotFound):
        client.verify_receipt(sealed(plane, receipt.model_copy(update={"tenant": "globex"})))
    with pytest.raises(NotFound):
        client.verify_receipt(sealed(plane, receipt.model_copy(update={"domain": "nowhere"})))
    limited = client.keys.create("limited", role="viewer", domains=["other"])
    with Client(client.url, limited.token) as stranger, pytest.raises(NotFound):
        stranger.verify_receipt(sealed(plane, receipt))


def test_the_receipt_of_a_prediction_is_of_its_output(both) -> None:
    plane, _, _ = both
    url = plane.settings.serve_url
    headers = {"Authorization": f"Bearer {plane.admin_token}", "Prefer": "respond-async"}
    at = httpx.post(f"{url}/v1/domains/foggy-cams:restore", content=PHOTO, headers=headers).headers["location"]
    until(lambda: httpx.get(f"{url}{at}", headers=headers).json()["state"] == "SUCCEEDED")
    output = httpx.get(f"{url}{at}/output", headers=headers)
    receipt = Receipt.parse(output.headers["x-receipt"])
    assert receipt.matches(output.content)
    assert receipt.request_id == at.rpartition("/")[2]


def test_the_command_line_keeps_receipts_and_checks_them(both, live, tmp_path) -> None:
    at, plane = live[0], both[0]
    source, picture = tmp_path / "in.png", tmp_path / "out.png"
    beside = tmp_path / "out.png.receipt"
    source.write_bytes(PHOTO)
    udair(at, "restore", str(source), "-d", "foggy-cams", "-o", str(picture), "--receipts")
    out, _ = udair(at, "receipt", "verify", str(picture))
    assert "the very bytes of the answer" in out
    assert "foggy-cams@1" in out
    out, _ = udair(at, "receipt", "verify", str(picture), "-o", "json")
    assert json.loads(out)["picture_matches"] is True

    restored = picture.read_bytes()
    picture.write_bytes(restored + b"x")
    out, _ = udair(at, "receipt", "verify", str(picture), code=1)
    assert "NOT the bytes" in out
    picture.write_bytes(restored)
    beside.write_text(sealed(plane, Receipt.parse(beside.read_text()), b"x" * 32))
    out, _ = udair(at, "receipt", "verify", str(picture), code=1)
    assert "NOT of this platform" in out
    beside.write_text("hello")
    _, err = udair(at, "receipt", "verify", str(picture), code=1)
    assert "is no receipt" in err
    _, err = udair(at, "receipt", "verify", str(tmp_path / "nothing.png"), code=1)
    assert "cannot be read" in err


def test_a_folder_has_a_receipt_beside_each_picture_where_that_is_asked_for(both, live, tmp_path) -> None:
    pictures = tmp_path / "in"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(PHOTO)
    for folder, more in (("with", ["--receipts"]), ("without", [])):
        udair(live[0], "restore", str(pictures), "-d", "foggy-cams", "-o", str(tmp_path / folder), *more)
    text = (tmp_path / "with" / "a.png.receipt").read_text()
    assert Receipt.parse(text).matches((tmp_path / "with" / "a.png").read_bytes())
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["a.png"]


def test_receipts_that_do_not_come_are_said(make_plane, serve, tmp_path) -> None:
    """A data plane of an older release signs none."""

    async def older(request: Request) -> Response:
        return Response(b"restored", headers={"X-Adapter-Version": "3"}, media_type="image/png")

    at = serve(Starlette(routes=[Route("/v1/domains/{domain}:restore", older, methods=["POST"])]))
    plane = make_plane(serve_url=at)
    picture = tmp_path / "in.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + b"pixels")
    _, err = udair(
        Platform(plane, serve(plane.client.app)),
        "restore",
        str(picture),
        "-d",
        "foggy-cams",
        "-o",
        str(tmp_path / "o.png"),
        "--receipts",
        code=1,
    )
    assert "no receipt came" in err


def test_a_text_that_is_too_long_is_no_receipt() -> None:
    with pytest.raises(ValueError, match="at most 4096"):
        Receipt.parse("A" * 5000)
