"""The page to try a version on, with a real data plane behind it: what is shown, kept, shared and refused."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from console_visitor import form_token, log_in, open_console, read, words
from data_plane import Plane as DataPlane
from data_plane import apart, make_image, offline
from PIL import Image

from udair.data.images import decode, encode_png
from udair_jobs.storage import open_storage
from udair_platform.documents import store_paths
from udair_platform.local.ports import free_ports
from udair_platform.services import kept_trials, trials

PHOTO = make_image(3)


@pytest.fixture(scope="module")
def data_planes(tmp_path_factory):
    """Makes data planes; a backbone takes a second, so that all tests of one key and clock share one."""
    made = []
    yield lambda key, clock: made.append(DataPlane(tmp_path_factory.mktemp("data"), key=key, clock=clock)) or made[-1]
    for one in made:
        one.backbone.shutdown()


@pytest.fixture
def plane(make_plane, data_planes, serve):
    (port,) = free_ports(1)
    made = make_plane(serve_url=f"http://127.0.0.1:{port}")
    serve(data_planes(made.signing_key, lambda: made.clock().timestamp()).app, port)
    return open_console(made)


def _send(plane, data=b"", name="cam.png", *, token=None, **fields):
    files = {"picture": (name, data)} if data else {"picture": ("", b"")}
    form = {"form_token": token or form_token(plane), **fields}
    return plane.client.post("/console/try/picture", data=form, files=files)


def _tried(plane, data=None, name="cam.png", **fields) -> str:
    answer = _send(plane, encode_png(PHOTO) if data is None else data, name, **fields)
    assert answer.status_code == 303, words(answer.text)
    return answer.headers["location"].removeprefix("/console")


def _link(plane, path: str, life: str = "hour") -> str:
    answer = plane.client.post(f"/console{path}/share", data={"form_token": form_token(plane), "life": life})
    assert answer.status_code == 200, answer.text
    found = re.search(r'value="http://[^/"]+(/console/shared\?link=[A-Za-z0-9_-]+)"', answer.text)
    assert found is not None
    return found.group(1)


def test_the_base_model_is_tried_before_there_is_any_domain(plane):
    assert "the base model" in read(plane, "/try")
    path = _tried(plane, name="\u05ea\u05de\u05d5\u05e0\u05d4 <1>.png")  # right to left
    text = read(plane, path)
    assert "<bdi>\u05ea\u05de\u05d5\u05e0\u05d4 &lt;1&gt;.png</bdi>" in text
    assert "by the base model" in words(text)
    assert "64 x 48 pixels." in words(text)
    assert "udair-tiny" in text
    pictures = {kind: plane.client.get(f"/console{path}/{kind}") for kind in ("camera", "restored")}
    assert {one.headers["content-type"] for one in pictures.values()} == {"image/png"}
    assert apart(decode(pictures["camera"].content), PHOTO) == 0
    assert apart(decode(pictures["restored"].content), offline(PHOTO, None)) <= 1
    kept = plane.client.get(f"/console{path}/restored?download=1").headers["content-disposition"]
    assert kept.startswith("attachment; filename*=UTF-8''%D7%AA")
    assert kept.endswith("-restored.png")


def test_a_domains_versions_are_offered_and_what_cannot_answer_says_why(plane):
    domain = plane.domain()
    number = plane.version(domain)
    text = words(read(plane, f"/try?domain={domain.name}"))
    assert f"version {number}, gate passed, candidate" in text
    assert "by the base model of foggy-cams" in words(read(plane, _tried(plane, domain=domain.name, version="base")))
    refused = _send(plane, encode_png(PHOTO), domain=domain.name, version=str(number))
    assert refused.status_code == 422
    assert "Version 1 cannot be loaded" in words(refused.text)  # the launcher of these tests makes no real adapter
    assert f'value="{number}" selected' in refused.text, "what was chosen is still chosen"
    other_tone = _send(plane, encode_png(PHOTO), domain=domain.name, version=str(number), tone="restore")
    assert "Version 1 was made for tone keep." in words(other_tone.text)
    nowhere = _send(plane, encode_png(PHOTO), domain="none")
    assert nowhere.status_code == 404
    assert "There is no domain" in words(nowhere.text)


def test_a_domain_that_is_served_as_it_came_shows_that(plane, clock):
    domain = plane.domain()
    with plane.database.write() as state:
        state.domains.save(replace(state.domains.get("acme", domain.name), passthrough="it loses 1 dB"))
    path = _tried(plane, domain=domain.name)
    assert "served as they came, and so is this one" in words(read(plane, path))
    assert apart(decode(plane.client.get(f"/console{path}/restored").content), PHOTO) == 0


def test_an_object_of_a_domain_is_tried_by_its_key(plane, tmp_path):
    photos = open_storage(str(tmp_path / "photos"))
    photos.put("gate 1/été.png", encode_png(PHOTO))
    domain = plane.domain()
    with plane.database.write() as state:
        state.domains.save(replace(state.domains.get("acme", domain.name), source_uri=photos.uri))
    for key in ("gate 1/été.png", f"{photos.uri}/gate 1/été.png"):
        answer = _send(plane, domain=domain.name, key=key)
        assert answer.status_code == 303, words(answer.text)
        assert "<bdi>été.png</bdi>" in read(plane, answer.headers["location"].removeprefix("/console"))
    for fields, told in (
        ({"key": "gate 1/none.png", "domain": domain.name}, "does not exist"),
        ({"key": "s3://elsewhere/a.png", "domain": domain.name}, "is not below the images of"),
        ({"key": "s3://acme/a.png"}, "choose the domain whose picture it is"),
    ):
        refused = _send(plane, **fields)
        assert refused.status_code == 422
        assert told in words(refused.text), words(refused.text)


def test_what_is_no_picture_too_large_or_missing_is_refused_in_words(plane):
    for data, status, told in (
        (b"", 422, "Choose one picture"),
        (b"no image at all", 422, "NOT_AN_IMAGE"),
        (encode_png(PHOTO)[:200], 422, "TRUNCATED"),
    ):
        answer = _send(plane, data)
        assert answer.status_code == status
        assert told in words(answer.text), words(answer.text)
    large = _send(plane, b"x" * (200 * 2**20))
    assert large.status_code == 413
    assert "The picture has 200 MB; at most 32 are restored at once." in words(large.text)
    assert "<form" in large.text, "the form is there, to try another"
    assert not list(plane.store.list(store_paths.TRIALS)), "nothing of what was refused is kept"


def test_a_data_plane_that_is_away_is_said(make_plane):
    plane = open_console(make_plane(serve_url=f"http://127.0.0.1:{free_ports(1)[0]}"))
    answer = _send(plane, encode_png(PHOTO))
    assert answer.status_code == 503
    assert "does not answer (ConnectError). `udair doctor` says more." in words(answer.text)


def test_who_may_not_restore_and_who_is_not_of_the_tenant_gets_nothing(plane):
    path = _tried(plane)
    token = form_token(plane)
    log_in(plane, plane.token("domain:read"))
    assert "trying needs the scope restore:invoke" in words(read(plane, "/try"))
    assert _send(plane, encode_png(PHOTO)).status_code == 403
    assert plane.client.get(f"/console{path}").status_code == 200, "who may look at all of the tenant may look at it"
    log_in(plane, plane.token("domain:read", only=("other-cams",)))
    assert plane.client.get(f"/console{path}").status_code == 404
    log_in(plane, plane.token("admin", tenant="globex"))
    for kind in ("", "/camera", "/restored"):
        assert plane.client.get(f"/console{path}{kind}").status_code == 404
    assert _send(plane, encode_png(PHOTO), token=token).status_code == 403, "a form of another session"


def test_a_session_that_ended_under_a_form_leads_back_to_it_and_says_so(plane):
    plane.client.cookies.clear()
    came = {"Referer": "http://testserver/console/try?domain=a", "Content-Type": "multipart/form-data; boundary=x"}
    answer = plane.client.post("/console/try/picture", content=b"--x--", headers=came)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?ended=1&next=/console/try")
    text = plane.client.get(answer.headers["location"]).text
    assert "The session had ended, so nothing was done." in words(text)
    assert 'value="/console/try"' in text
    elsewhere = plane.client.post("/console/logout", headers={"Referer": "http://evil.example/console/x"})
    assert elsewhere.headers["location"] == "/console/login?ended=1&next=/console/"


def test_a_link_shows_the_page_without_a_key_until_it_ends(plane):
    path = _tried(plane)
    link = _link(plane, path)
    plane.client.cookies.clear()
    page = plane.client.get(link)
    assert page.status_code == 200
    assert "64 x 48 pixels." in words(page.text)
    assert "<form" not in page.text, "nothing can be done on it"
    picture = re.search(r'slot="second"[^>]* src="([^"]+)"', page.text)
    assert picture is not None
    shown = picture.group(1).replace("&amp;", "&")
    assert apart(decode(plane.client.get(shown).content), offline(PHOTO, None)) <= 1
    assert plane.client.get(f"/console{path}").status_code == 303, "the page itself asks for a key"

    plane.clock.forward(3590)
    assert plane.client.get(link).status_code == 200
    plane.clock.forward(20)
    for gone in (link, shown, "/console/shared?link=none", f"{link}x", "/console/shared"):
        answer = plane.client.get(gone)
        assert answer.status_code == 404
        assert "This link ended." in words(answer.text)


def test_a_link_ends_with_its_key_and_when_it_is_taken_back(plane):
    path = _tried(plane)
    admin = plane.admin_token
    other = plane.token("admin")
    log_in(plane, other)
    link = _link(plane, path, "week")
    assert "A link shows this page" in words(read(plane, path))
    plane.clock.forward(5 * 86400)
    assert plane.client.get(link).status_code == 200, "it is kept as long as its link is good"

    log_in(plane, admin)
    plane.client.post(f"/console{path}/unshare", data={"form_token": form_token(plane)})
    assert plane.client.get(link).status_code == 404

    log_in(plane, other)
    link = _link(plane, path, "day")
    kid = other.partition(".")[0].removeprefix("ak_")
    with plane.change() as tx:
        tx.state.keys.revoke("acme", kid, at=plane.clock())
    assert plane.client.get(link).status_code == 404
    assert plane.client.post(f"/console{path}/share", data={"form_token": "x", "life": "year"}).status_code == 303
    log_in(plane)
    bad = plane.client.post(f"/console{path}/share", data={"form_token": form_token(plane), "life": "year"})
    assert bad.status_code == 422


def test_what_was_tried_is_deleted_after_an_hour_and_there_are_never_many(plane, monkeypatch):
    first, shared = _tried(plane), _tried(plane)
    _link(plane, shared, "day")
    plane.clock.forward(3601)
    assert plane.client.get(f"/console{first}").status_code == 404
    assert plane.client.get(f"/console{first}/camera").status_code == 404
    plane.reconciler.tick()  # its sweep deletes what nobody asks for again
    kept = {item.key.split("/")[2] for item in plane.store.list(store_paths.trials("acme"))}
    assert kept == {shared.rpartition("/")[2]}

    monkeypatch.setattr(kept_trials, "MOST", 2)
    later = []
    for _ in range(3):
        plane.clock.forward(1)
        later.append(_tried(plane).rpartition("/")[2])
    kept = {item.key.split("/")[2] for item in plane.store.list(store_paths.trials("acme"))}
    assert kept == {shared.rpartition("/")[2], later[-1]}, "the oldest make room, those that are shared last"


def test_a_trial_that_was_never_finished_is_deleted_and_one_being_written_is_left(plane):
    now = plane.clock()
    folder = plane.store.at(store_paths.trials("acme"))
    for age in (timedelta(hours=2), timedelta(minutes=1)):
        folder.put(f"{int((now - age).timestamp() * 1000):013d}-{'0' * 16}/camera", b"x")
    assert kept_trials.prune(plane.store, "acme", now=now) == 1
    assert len(list(folder.list())) == 1


def test_jpegs_come_back_as_jpegs_and_others_without_loss(plane):
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, "JPEG")
    for data, kind in ((buffer.getvalue(), "image/jpeg"), (encode_png(PHOTO), "image/png")):
        path = _tried(plane, data)
        assert plane.client.get(f"/console{path}/restored").headers["content-type"] == kind


def test_only_a_few_pictures_are_tried_at_once(plane, monkeypatch):
    monkeypatch.setattr(trials, "_AT_ONCE", threading.BoundedSemaphore(1))
    assert trials._AT_ONCE.acquire(blocking=False)
    answer = _send(plane, encode_png(PHOTO))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    trials._AT_ONCE.release()
    _tried(plane)
