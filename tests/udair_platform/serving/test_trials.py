"""One picture with a version that need not serve: the data plane takes a ticket instead of a key and a route."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from data_plane import KEY, PREVIOUS_KEY, Plane, answering, apart, bearer, make_adapter, make_image, offline
from PIL import Image

from udair.data.images import decode, encode_png
from udair.data.scenes import dead_leaves
from udair_platform.documents.trial_ticket import GOOD_FOR, TrialTicket
from udair_platform.serving.http.seen import sentences
from udair_platform.tickets import Tickets

SOURCE = {"version": 0, "adapter_digest": None, "candidate_uri": None, "tone": "keep"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with answering(Plane(tmp_path_factory.mktemp("plane"))) as made:
        yield made


def _try(plane, entry, body=None, *, key=KEY, now=None, query="", token=None, domain="", **more) -> httpx.Response:
    made = datetime.fromtimestamp(time.time() if now is None else now, UTC)
    ticket = TrialTicket("acme", domain, entry).given(Tickets(lambda: made, key))
    headers = {"Authorization": f"Bearer {ticket if token is None else token}", **more.pop("headers", {})}
    content = encode_png(make_image()) if body is None else body
    return httpx.post(f"{plane.url}/v1/trials{query}", content=content, headers=headers, timeout=60, **more)


def test_the_base_model_and_a_version_without_a_route_restore_a_picture(plane):
    image = make_image(3)
    adapter = make_adapter(0.3)
    entry = plane.entry("waiting", adapter, version=4)  # published, and in no route
    for row, expected in ((SOURCE, None), (entry, adapter)):
        answer = _try(plane, row, encode_png(image))
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-adapter-version"] == str(row["version"])
        assert answer.headers["x-fallback"] == "none"
        assert apart(decode(answer.content), offline(image, expected)) <= 1
    assert "acme/~trial" not in plane.backbone.reports._traffic.report(), "a trial is no traffic"


def test_the_camera_comes_back_as_it_was_and_nothing_says_where_it_was_taken(plane):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    buffer = io.BytesIO()
    Image.fromarray(make_image(5)).save(buffer, "JPEG", quality=70, exif=exif.tobytes())
    answers = {
        kind: _try(plane, SOURCE, buffer.getvalue(), query=f"?picture={kind}", headers={"Accept": "image/png"})
        for kind in ("camera", "restored")
    }
    assert np.array_equal(decode(answers["camera"].content), decode(buffer.getvalue()))
    for answer in answers.values():
        assert b"a camera" not in answer.content
        assert answer.headers["x-size"] == "64x48"
    seen = json.loads(unquote(answers["restored"].headers["x-seen"]))
    assert "64 x 48 pixels." in seen
    assert "It is a JPEG, visibly compressed (quality 70)." in seen
    assert seen[-1].startswith("The restoration changed it by ")
    assert json.loads(unquote(answers["camera"].headers["x-seen"])) == []


def test_only_a_ticket_opens_the_door_and_only_for_minutes(plane):
    assert _try(plane, SOURCE, key=PREVIOUS_KEY).status_code == 200
    for answer in (
        _try(plane, SOURCE, key=b"x" * 32),
        _try(plane, SOURCE, now=time.time() - GOOD_FOR.total_seconds() - 5),
        _try(plane, SOURCE, token="none"),
        _try(plane, SOURCE, token=bearer()["Authorization"].removeprefix("Bearer ")),  # a key is no ticket
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), answer.text
    assert _try(plane, SOURCE, query="?picture=both").status_code == 400


def test_an_object_is_read_below_the_domains_source_and_nowhere_else(plane):
    plane.source.put("cam/a.png", encode_png(make_image(8)))
    entry = SOURCE | {"source_uri": f"{plane.source.uri}/cam"}
    asked = {"headers": {"Content-Type": "application/json"}, "domain": "cams"}

    def named(uri):
        return _try(plane, entry, json.dumps({"input_uri": uri}).encode(), **asked)

    assert named(f"{plane.source.uri}/cam/a.png").status_code == 200
    assert named(f"{plane.source.uri}/cam/none.png").status_code == 404
    assert named(f"{plane.source.uri}/other/a.png").status_code == 403
    assert _try(plane, SOURCE, json.dumps({"input_uri": "/etc/hostname"}).encode(), **asked).status_code == 403


def test_a_version_that_cannot_be_loaded_is_said_and_nothing_else_answers(plane):
    entry = plane.entry("broken", make_adapter(0.1), version=9) | {"adapter_digest": "0" * 64}
    answer = _try(plane, entry)
    assert (answer.status_code, answer.json()["code"]) == (409, "INVALID_STATE")
    assert "Version 9 cannot be loaded" in answer.json()["detail"]


def test_what_is_seen_in_a_picture_follows_what_is_in_it():
    (scene,) = dead_leaves(1, 256)
    rng = np.random.default_rng(1)

    def grain(image):
        found = next(one for one in sentences(b"", image) if "grain" in one)
        return float(found.partition("grain")[2].split("grey")[0].split()[-1])

    flat = np.full((256, 256, 3), 120.0)
    levels = [grain(np.clip(flat + rng.normal(0, sigma, flat.shape), 0, 255).astype(np.uint8)) for sigma in (3, 10, 25)]
    assert levels == pytest.approx([3, 10, 25], rel=0.25)
    assert any("It is dark" in one for one in sentences(b"", (scene * 0.15).astype(np.uint8)))
    hazy = (scene * 0.2 + 150).astype(np.uint8)
    assert any("contrast is low" in one for one in sentences(b"", hazy))
    warm = (scene * np.array([1.0, 0.8, 0.5])).astype(np.uint8)
    assert any("warm side" in one for one in sentences(b"", warm))
    assert any("cannot be told" in one for one in sentences(b"", np.zeros((8, 8, 3), np.uint8)))


def test_a_folder_that_became_a_link_is_read_no_more(plane, tmp_path):
    for name in ("yard", "secret"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encode_png(make_image(8)))
    entry = SOURCE | {"source_uri": (tmp_path / "yard").as_uri()}
    body = json.dumps({"input_uri": f"{(tmp_path / 'yard').as_uri()}/a.png"}).encode()
    asked = {"headers": {"Content-Type": "application/json"}, "domain": "cams"}
    assert _try(plane, entry, body, **asked).status_code == 200
    (tmp_path / "yard").rename(tmp_path / "moved")
    (tmp_path / "yard").symlink_to(tmp_path / "secret")
    answer = _try(plane, entry, body, **asked)
    assert (answer.status_code, "leads elsewhere" in answer.text) == (403, True)
