"""Two versions side by side in the console: which pictures are shown of both, what is said of each, and what is refused."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace

import pytest
from console_visitor import form_token, log_in, open_console, read, words
from data_plane import Plane as DataPlane
from data_plane import apart, make_adapter, make_image, offline
from PIL import Image

from udair.data.images import decode, encode_png
from udair_jobs.storage import open_storage
from udair_platform.local.ports import free_ports

PHOTO = make_image(3)


@pytest.fixture
def plane(make_plane):
    return open_console(make_plane())


def _gallery(shade: int, keys=("a.png", "b.png"), camera: int = 7) -> dict[str, bytes]:
    """Pictures as a job publishes them: `shade` of its own answers, `camera` of what the camera saw."""
    files, items = {}, []
    for number, key in enumerate(keys):
        names = {kind: f"gallery-{number:03d}-{kind}.webp" for kind in ("camera", "source", "adapted")}
        for kind, level in (("camera", camera), ("source", 90), ("adapted", shade)):
            sink = io.BytesIO()
            Image.new("RGB", (12, 8), (level, 80, 90 + len(key))).save(sink, "WEBP", lossless=True)
            files[names[kind]] = sink.getvalue()
        items.append(
            {"key": key, "files": names, "width": 12, "height": 8, "change": shade / 1000, "niqe_rise": -number}
        )
    return files | {"gallery.json": json.dumps({"images": items}).encode()}


def _version(plane, domain, pictures, evidence=None, snapshot="latest") -> int:
    plane.launcher.pictures = pictures
    if evidence is not None:
        plane.launcher.evidence = evidence
    with plane.database.read() as state:
        taken = state.snapshots.page("acme", domain.id, size=1)
    wanted = taken[0].id if taken and snapshot == "latest" else None
    number = plane.settle(plane.submit(domain, snapshot=wanted).id).version
    assert number is not None
    return number


def _shown(plane, page: str) -> dict[str, tuple[int, int, int]]:
    """A pixel of each of the two pictures that are large."""
    found = dict(re.findall(r'<img slot="(first|second)"[^>]* src="([^"]+)"', page))
    pixels = {}
    for slot, address in found.items():
        answer = plane.client.get(address)
        assert answer.status_code == 200, address
        pixels[slot] = Image.open(io.BytesIO(answer.content)).convert("RGB").getpixel((0, 0))
    return pixels


def test_two_versions_of_one_snapshot_are_shown_on_all_its_pictures_with_what_was_measured_of_each(plane, evidence):
    domain = plane.domain()
    measured = replace(evidence["PASSED"], matched_gain_db=0.834, harmed_share=0.0625)
    one = _version(plane, domain, _gallery(10), measured)
    two = _version(
        plane,
        domain,
        _gallery(20, ("b.png", "a.png")),
        replace(evidence["FAILED"], matched_gain_db=-0.2, harmed_share=math.nan),
    )
    with plane.database.write() as state:
        known = state.versions.get("acme", domain.id, one)
        told = {**known.evidence, "version": 2, "matched_gain_low_db": 0.61}
        state.versions.save(replace(known, evidence=told, words=("Noise: sigma 9 of 255 levels.",)))
    page = read(plane, f"/domains/{domain.name}/compare?a={one}&b={two}")
    assert _shown(plane, page) == {"first": (10, 80, 95), "second": (20, 80, 95)}
    assert "The same pictures 2" in words(page)
    assert "changed 1.0 % by version 1, 2.0 % by version 2" in page
    text = words(page)
    assert "version 1 +0.83 dB at least +0.61 dB; harmed 6 %" in text
    assert "version 2 −0.20 dB at least –; harmed –" in text, "what an earlier release did not measure is not known"
    assert "Noise: sigma 9 of 255 levels." in text
    assert "Neither answers now: the base model does." in text
    assert "different snapshots" not in text
    link = re.search(r'href="(/console/domains/foggy-cams/compare\?a=1&(?:amp;)?b=2&(?:amp;)?image=1)"', page)
    assert link is not None, "without script, too, another picture is chosen"
    assert "a.png, version 1" in plane.client.get(link[1].replace("&amp;", "&")).text
    assert page.count('<option value="source">base model</option>') == 2
    with plane.database.write() as state:
        state.versions.save(replace(state.versions.get("acme", domain.id, two), tone="restore"))
    other = read(plane, f"/domains/{domain.name}/compare?a={one}&b={two}")
    assert '<option value="source">' not in other, "two intents have two base model's pictures"


def test_a_version_and_the_base_model_are_compared_on_either_side(plane):
    domain = plane.domain()
    number = _version(plane, domain, _gallery(10))
    left = read(plane, f"/domains/{domain.name}/compare?a=0&b={number}")
    assert _shown(plane, left) == {"first": (90, 80, 95), "second": (10, 80, 95)}
    assert "base model serves now 0 dB what gains are measured against" in words(left)
    right = read(plane, f"/domains/{domain.name}/compare?a=@candidate&b=0")
    assert _shown(plane, right) == {"first": (10, 80, 95), "second": (90, 80, 95)}
    usual = read(plane, f"/domains/{domain.name}/compare")
    assert _shown(plane, usual) == {"first": (90, 80, 95), "second": (10, 80, 95)}, "what serves, and the newest"
    for page in ("", f"/versions/{number}"):
        assert f'href="/console/domains/{domain.name}/compare' in read(plane, f"/domains/{domain.name}{page}")


def test_of_two_snapshots_only_pictures_that_are_the_same_to_the_last_pixel_are_shown(plane):
    domain = plane.domain()
    one = _version(plane, domain, _gallery(10, ("a.png", "b.png")))
    two = _version(plane, domain, _gallery(20, ("b.png", "c.png")), snapshot="new")
    page = read(plane, f"/domains/{domain.name}/compare?a={one}&b={two}")
    assert "They were made of different snapshots. 1 of their 3 pictures are in both; no other is shown." in words(page)
    assert "b.png, version 1" in page
    assert "c.png" not in page
    # Under the same keys, but the camera saw something else by then.
    three = _version(plane, domain, _gallery(30, ("b.png", "c.png"), camera=8), snapshot="new")
    page = read(plane, f"/domains/{domain.name}/compare?a={two}&b={three}")
    assert "0 of their 2 pictures are in both" in words(page)
    assert "<img slot" not in page
    assert "Restore by both" in page


def test_what_cannot_be_compared_is_said_in_words_beside_the_choice(plane):
    domain = plane.domain()
    base = f"/console/domains/{domain.name}/compare"
    assert "No version yet, so there is nothing to compare." in words(plane.client.get(base).text)
    one, two = (_version(plane, domain, _gallery(shade)) for shade in (10, 20))
    for query, status, told in (
        (f"a={one}&b={one}", 422, "Both sides are version 1; choose two versions, or one and the base model."),
        ("a=0&b=0", 422, "Both sides are the base model"),
        (f"a={one}&b=9", 404, "9"),
        (f"a={one}&b=@nobody", 404, "no version or alias '@nobody'"),
        (f"a={one}&b=../x", 404, "no version or alias"),
    ):
        answer = plane.client.get(f"{base}?{query}")
        assert answer.status_code == status, query
        assert told in words(answer.text.partition('role="alert"')[2].partition("</div>")[0]), query
        assert '<select name="a">' in answer.text, "another choice is there to be made"
    with plane.database.read() as state:
        folder = open_storage(state.versions.get("acme", domain.id, two).candidate_uri)
    folder.delete("gallery.json")
    page = read(plane, f"/domains/{domain.name}/compare?a={one}&b={two}")
    assert "The pictures of version 2 are gone from the store, or none were published" in words(page)
    assert "What they are" in page, "the rest of the page is there"


def test_a_key_of_other_domains_and_one_that_only_looks(plane):
    domain = plane.domain()
    number = _version(plane, domain, _gallery(10))
    form = {"form_token": form_token(plane), "a": "0", "b": number, "key": "a.png"}
    base = f"/domains/{domain.name}/compare"
    assert plane.client.post(f"/console{base}", data=form | {"form_token": "0" * 64}).status_code == 403
    log_in(plane, plane.token("domain:read"))
    assert "Restore by both" not in read(plane, base)
    assert plane.client.post(f"/console{base}", data=form | {"form_token": form_token(plane)}).status_code == 403
    log_in(plane, plane.token("domain:read", only=("other-cams",)))
    assert plane.client.get(f"/console{base}").status_code == 404
    log_in(plane, plane.token("restore:invoke"))
    assert plane.client.post(f"/console{base}", data=form).status_code == 403, "what was measured is for who may read"


def test_a_data_plane_that_is_away_is_said_on_the_page(make_plane):
    plane = open_console(make_plane(serve_url=f"http://127.0.0.1:{free_ports(1)[0]}"))
    domain = plane.domain()
    number = _version(plane, domain, _gallery(10))
    form = {"form_token": form_token(plane), "a": "0", "b": "0", "key": "a.png"}
    same = plane.client.post(f"/console/domains/{domain.name}/compare", data=form)
    assert (same.status_code, "Both sides are the base model" in words(same.text)) == (422, True)
    with plane.database.write() as state:
        known, base = state.versions.get("acme", domain.id, number), state.bases.current()
        state.versions.save(replace(known, base_digest=base.digest))
    away = plane.client.post(f"/console/domains/{domain.name}/compare", data=form | {"b": number})
    assert away.status_code == 503
    assert "retry-after" in away.headers
    assert "does not answer (ConnectError)" in words(away.text)
    assert 'value="a.png"' in away.text, "what was typed is still there"


def test_any_picture_of_the_domain_is_restored_by_both_and_shown(make_plane, serve, tmp_path):
    (port,) = free_ports(1)
    plane = make_plane(serve_url=f"http://127.0.0.1:{port}")
    data = DataPlane(tmp_path / "data", plane.store, key=plane.signing_key, clock=lambda: plane.clock().timestamp())
    try:
        serve(data.app, port)
        open_console(plane)
        photos = open_storage(str(tmp_path / "photos"))
        photos.put("gate 1/été.png", encode_png(PHOTO))
        domain = plane.domain()
        with plane.database.write() as state:
            state.domains.save(replace(state.domains.get("acme", domain.name), source_uri=photos.uri))
        number = _version(plane, domain, _gallery(10))
        adapter = make_adapter(0.05)
        entry = data.entry("cams", adapter, number)
        with plane.database.write() as state:
            known = state.versions.get("acme", domain.id, number)
            base = state.bases.current()
            state.versions.save(
                replace(
                    known,
                    candidate_uri=entry["candidate_uri"],
                    adapter_digest=entry["adapter_digest"],
                    base_digest=base.digest,
                )
            )
        path = f"/console/domains/{domain.name}/compare"
        form = {"form_token": form_token(plane), "a": "0", "b": number}
        tried = plane.client.post(path, data=form | {"key": "gate 1/été.png"})
        assert tried.status_code == 303, words(tried.text)
        page = plane.client.get(tried.headers["location"]).text
        assert "One picture, tried with both" in words(page)
        found = dict(re.findall(r'<img slot="(first|second)"[^>]* src="([^"]+)"', page))
        for slot, made in (("first", None), ("second", adapter)):
            assert apart(decode(plane.client.get(found[slot]).content), offline(PHOTO, made)) <= 1
        swapped = tried.headers["location"].replace(f"a=0&b={number}", f"a={number}&b=0")
        refused = plane.client.get(swapped)
        assert (refused.status_code, "not by version 1" in refused.text) == (422, True), "each side is whose it says"
        for key, told in (
            ("none.png", "does not exist"),
            ("s3://x/a.png", "is not below the images of"),
            (" ", "Name one"),
        ):
            answer = plane.client.post(path, data=form | {"key": key})
            assert answer.status_code == 422
            assert told in words(answer.text), words(answer.text)
        plane.clock.forward(3601)
        gone = plane.client.get(tried.headers["location"])
        assert (gone.status_code, "no longer kept" in gone.text) == (404, True)
    finally:
        data.backbone.shutdown()
