"""The console over HTTP: who may look, what a form may do, and that nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path

import pytest
from jinja2 import Template
from pydantic import BaseModel

from udair_jobs.storage import open_storage
from udair_platform import console
from udair_platform.console.app import create_console
from udair_platform.console.session import COOKIE, LASTS_S


@pytest.fixture
def plane(make_plane):
    made = make_plane()
    app = made.client.app
    app.mount("/console", create_console(app.state.context))
    made.client.headers.pop("Authorization")  # browsers have cookies
    made.client.follow_redirects = False
    return made


def _log_in(plane, token: str | None = None) -> None:
    plane.client.cookies.clear()
    answer = plane.client.post("/console/login", data={"key": token or plane.admin_token, "next": "/console/domains"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/domains")


def _form_token(plane, path: str = "/console/") -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', plane.client.get(path).text)
    assert found is not None
    return found.group(1)


PAGES = (
    "/",
    "/domains",
    "/domains/foggy-cams",
    "/domains/foggy-cams/versions/1",
    "/domains/foggy-cams/compare",
    "/domains/foggy-cams/snapshots",
    "/jobs",
    "/sweeps",
    "/serving",
    "/usage",
    "/audit",
    "/keys",
    "/try?domain=foggy-cams",
)


def test_without_a_session_every_page_leads_to_the_login(plane):
    plane.version(plane.domain())
    for path in PAGES:
        answer = plane.client.get(f"/console{path}")
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/login"), path


def test_every_page_is_shown_and_keeps_to_itself(plane):
    number = plane.version(plane.domain())

    _log_in(plane)
    shown = [plane.client.get(f"/console{path}") for path in PAGES]
    for noun in ("jobs", "snapshots"):
        link = re.search(rf'href="(/console/domains/foggy-cams/{noun}/[^"]+)"', shown[2].text)
        assert link is not None
        shown.append(plane.client.get(link.group(1)))
    for answer in shown:
        assert answer.status_code == 200, answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r'(src|href|action)="(https?:)?//', answer.text), "nothing comes from elsewhere"
        assert not re.search(r"<script(?![^>]*src=)|style=|<style|onclick=", answer.text), "nothing is inline"
        assert re.search(r'<html lang="en">.*<main id="main">', answer.text, re.DOTALL)
    assert f"version {number}" in shown[2].text
    assert "held" in shown[3].text


def test_templates_are_handed_values_of_the_contract_and_no_rows_of_the_database(plane, monkeypatch):
    handed: dict[str, dict[str, object]] = {}
    render = Template.render

    def watched(template: Template, **values: object) -> str:
        handed[template.name or ""] = handed.get(template.name or "", {}) | values
        return render(template, **values)

    monkeypatch.setattr(Template, "render", watched)
    number, api = plane.version(plane.domain()), {"Authorization": f"Bearer {plane.admin_token}"}
    for path, body in (
        ("/v1/domains/foggy-cams/jobs", {}),
        ("/v1/webhooks", {"url": "https://hooks.example/udair", "kinds": ["*"]}),
        (f"/v1/domains/foggy-cams/versions/{number}:promote", {}),
    ):
        plane.client.post(path, json=body, headers=api).raise_for_status()
    _log_in(plane)
    job, snapshot = (
        plane.client.get(f"/v1/domains/foggy-cams/{noun}", headers=api).json()[noun][-1]["id"]
        for noun in ("jobs", "snapshots")
    )
    rest = (f"/domains/foggy-cams/{place}" for place in (f"jobs/{job}", f"snapshots/{snapshot}", "snapshots"))
    assert {plane.client.get(f"/console{path}").status_code for path in (*PAGES, *rest)} == {200}
    templates = {path.name for path in Path(console.__file__).with_name("templates").glob("*.html")}
    # The last two read files of their own: a sweep's, and a picture's that was tried.
    bare = {"layout.html", "macros.html", "error.html", "login.html", "welcome.html"}
    assert templates - handed.keys() == {*bare, "sweep.html", "trial.html"}
    for name, values in handed.items():
        for value in _all_of(values):
            assert not type(value).__module__.startswith("udair_platform.entities"), (name, value)


def _all_of(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, Mapping):
        yield from (one for item in value.values() for one in _all_of(item))
    elif isinstance(value, list | tuple | set):
        yield from (one for item in value for one in _all_of(item))
    elif is_dataclass(value) or isinstance(value, BaseModel):
        yield from (one for item in vars(value).values() for one in _all_of(item))


@pytest.mark.parametrize("key", ["", "ak_none", "ak_a.b.c", "x" * 4000, "ak_\u00e9"])
def test_a_key_that_is_none_is_refused(plane, key):
    answer = plane.client.post("/console/login", data={"key": key})
    assert answer.status_code in (401, 422)
    assert COOKIE not in answer.cookies


def test_the_cookie_holds_no_key_and_is_for_this_server_only(plane):
    answer = plane.client.post("/console/login", data={"key": plane.admin_token})
    cookie = answer.headers["set-cookie"]
    assert plane.admin_token not in cookie
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/console" in cookie


def test_a_session_ends_with_its_time_and_with_its_key(plane):
    _log_in(plane)
    assert plane.client.get("/console/").status_code == 200
    plane.clock.forward(LASTS_S + 1)
    assert plane.client.get("/console/").status_code == 303

    token = plane.token("domain:read")
    _log_in(plane, token)
    assert plane.client.get("/console/").status_code == 200
    kid = token.removeprefix("ak_").partition(".")[0]
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    assert plane.client.post(f"/v1/apiKeys/{kid}:revoke", headers=headers).status_code == 200
    assert plane.client.get("/console/").status_code == 303


def test_a_copied_cookie_ends_with_the_logout(plane):
    _log_in(plane)
    copied = plane.client.cookies[COOKIE]
    token = _form_token(plane)
    plane.clock.forward(5)
    assert plane.client.post("/console/logout", data={"form_token": token}, follow_redirects=False).status_code == 303
    plane.client.cookies.set(COOKIE, copied, path="/console")
    answer = plane.client.get("/console/domains", follow_redirects=False)
    assert (answer.status_code, "/console/login" in answer.headers.get("location", "")) == (303, True)
    _log_in(plane)
    assert plane.client.get("/console/domains").status_code == 200


def test_a_forged_cookie_is_no_session(plane):
    _log_in(plane)
    good = plane.client.cookies[COOKIE]
    for bad in (("B" if good[0] == "A" else "A") + good[1:], "A" * len(good), "", "%%%"):
        plane.client.cookies.set(COOKIE, bad, path="/console")
        plane.client.cookies.delete(COOKIE)
        plane.client.cookies.set(COOKIE, bad)
        assert plane.client.get("/console/").status_code == 303
        plane.client.cookies.clear()


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/console/\\evil", "/v1/domains", "/console/login"]
)
def test_the_login_leads_nowhere_else(plane, target):
    answer = plane.client.post("/console/login", data={"key": plane.admin_token, "next": target})
    assert answer.headers["location"] == "/console/"


def test_promote_and_roll_back_and_that_is_in_the_history(plane):
    domain = plane.domain()
    number = plane.version(domain)
    _log_in(plane)
    token = _form_token(plane)
    base = f"/console/domains/{domain.name}"
    form = {"form_token": token, "version": number, "if_current": 0, "reason": "looks better"}
    assert plane.client.post(f"{base}/promote", data=form).status_code == 303
    page = plane.client.get(base).text
    assert "looks better" in page
    stale = plane.client.post(f"{base}/promote", data=form)
    assert stale.status_code == 409, "the page showed another champion"
    assert plane.client.post(f"{base}/rollback", data={"form_token": token, "if_current": number}).status_code == 303
    assert "rolled back in the console" in plane.client.get(base).text


def test_what_the_gate_could_not_judge_is_decided_by_a_person(plane, evidence):
    domain = plane.domain()
    _log_in(plane)
    token = _form_token(plane)
    for decision, state in (("approve", "active"), ("reject", "rejected")):
        number = plane.version(domain, evidence["INCONCLUSIVE"])
        base = f"/console/domains/{domain.name}/versions/{number}"
        assert "pending approval" in plane.client.get(base).text
        answer = plane.client.post(f"{base}/{decision}", data={"form_token": token, "reason": "looked at it"})
        assert answer.status_code == 303
        text = plane.client.get(base).text
        assert f'class="state {state}"' in text
        assert "looked at it" in text


def test_a_job_is_asked_for_cancelled_and_run_again(plane):
    domain = plane.domain()
    _log_in(plane)
    token = _form_token(plane)
    asked = plane.client.post(f"/console/domains/{domain.name}/adapt", data={"form_token": token})
    job = asked.headers["location"]
    assert plane.client.post(f"{job}/cancel", data={"form_token": token}).status_code == 303
    page = plane.client.get(job).text
    assert "USER_CANCELLED" in page
    assert "Run it again if that was a mistake." in page
    again = plane.client.post(f"{job}/retry", data={"form_token": token})
    assert again.headers["location"] != job


@pytest.mark.parametrize("token", ["", "0" * 64, None])
def test_a_form_from_elsewhere_does_nothing(plane, token):
    domain = plane.domain()
    _log_in(plane)
    data = {} if token is None else {"form_token": token}
    answer = plane.client.post(f"/console/domains/{domain.name}/adapt", data=data)
    assert answer.status_code in (403, 422)
    good = {"form_token": _form_token(plane)}
    foreign = plane.client.post(
        f"/console/domains/{domain.name}/adapt", data=good, headers={"Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    assert plane.client.get(f"/v1/domains/{domain.name}/jobs", headers=headers).json()["jobs"] == []


def test_a_reader_reads_and_does_nothing_else(plane):
    domain = plane.domain()
    number = plane.version(domain)
    _log_in(plane, plane.token("domain:read"))
    assert plane.client.get(f"/console/domains/{domain.name}").status_code == 200
    token = _form_token(plane)
    for verb, form in (
        ("adapt", {}),
        ("promote", {"version": number, "if_current": 0}),
        ("rollback", {"if_current": 0}),
    ):
        answer = plane.client.post(f"/console/domains/{domain.name}/{verb}", data={"form_token": token, **form})
        assert answer.status_code == 403, verb
    for path in ("/audit", "/keys"):
        assert plane.client.get(f"/console{path}").status_code == 403


def test_a_key_of_some_domains_sees_those_only(plane):
    plane.domain("mine-cams")
    plane.version(plane.domain("theirs-cams"))
    _log_in(plane, plane.token("admin", only=("mine-cams",)))
    for path in ("/", "/domains", "/jobs", "/serving", "/usage"):
        text = plane.client.get(f"/console{path}").text
        assert "theirs-cams" not in text
        assert "/console/audit" not in text
    assert "mine-cams" in plane.client.get("/console/domains").text
    assert plane.client.get("/console/domains/theirs-cams").status_code == 404
    for path in ("/audit", "/keys", "/sweeps", "/sweeps/any"):
        assert plane.client.get(f"/console{path}").status_code == 403, "it would see more than itself"


@pytest.mark.parametrize("number", [2**31, 2**63, 10**20, -(2**64)])
def test_numbers_that_no_database_counts_to_are_no_faults_of_ours(plane, number):
    plane.version(plane.domain())
    _log_in(plane)
    token = _form_token(plane)
    for path in (f"/versions/{number}", f"/versions/{number}/pictures/gallery-000-source.webp"):
        assert plane.client.get(f"/console/domains/foggy-cams{path}").status_code in (404, 422), path
    form = {"form_token": token, "version": number, "if_current": 0, "reason": "x"}
    for path in ("/promote", f"/versions/{number}/approve"):
        answer = plane.client.post(f"/console/domains/foggy-cams{path}", data=form)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)


def test_another_tenant_sees_nothing(plane):
    domain = plane.domain()
    plane.version(domain)
    job = plane.submit(domain)
    _log_in(plane, plane.token("admin", tenant="globex"))
    for path in (
        "",
        "/versions/1",
        f"/jobs/{job.id}",
        f"/jobs/{job.id}/log",
        f"/jobs/{job.id}/stream",
        "/versions/1/pictures/gallery-000-source.webp",
        "/versions/1/thumbs/gallery-000-source.webp",
        "/snapshots",
        f"/snapshots/{job.snapshot_id}",
    ):
        assert plane.client.get(f"/console/domains/{domain.name}{path}").status_code == 404, path
    for path in ("/", "/domains", "/jobs", "/sweeps", "/serving", "/usage", "/audit", "/keys"):
        text = plane.client.get(f"/console{path}").text
        assert "foggy-cams" not in text
        assert job.id not in text


def test_what_customers_write_is_text_and_nothing_else(plane):
    _log_in(plane)
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    nasty = "<script>alert(1)</script>\"'"
    body = {"name": "nasty-cams", "source_uri": "s3://acme/<b>x", "description": nasty}
    assert plane.client.post("/v1/domains", json=body, headers=headers).status_code == 201
    for path in ("/domains", "/domains/nasty-cams"):
        text = plane.client.get(f"/console{path}").text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text


def test_pictures_are_shown_and_nothing_else_is_read(plane):
    domain = plane.domain()
    number = plane.version(domain)
    with plane.database.read() as state:
        version = state.versions.get("acme", domain.id, number)
    folder = open_storage(version.candidate_uri)
    folder.put("gallery-000-source.webp", b"RIFFsource")
    files = {"source": "gallery-000-source.webp", "adapted": "gallery-000-adapted.webp"}
    item = {"key": "cam <1>.png", "files": files, "width": 8, "height": 8, "change": 0.1, "niqe_rise": None}
    folder.put("gallery.json", json.dumps({"images": [item]}).encode())
    _log_in(plane)
    base = f"/console/domains/{domain.name}/versions/{number}"
    page = plane.client.get(base).text
    assert "cam &lt;1&gt;.png" in page
    picture = plane.client.get(f"{base}/pictures/gallery-000-source.webp")
    assert (picture.content, picture.headers["content-type"]) == (b"RIFFsource", "image/webp")
    assert "immutable" in picture.headers["cache-control"]
    for name in ("gallery-000-adapted.webp", "adapter.safetensors", "..%2f..%2fresult.json", "gallery.json"):
        assert plane.client.get(f"{base}/pictures/{name}").status_code == 404, name
    folder.put("gallery.json", b"{broken")
    assert plane.client.get(base).status_code == 200, "a damaged index costs the pictures, not the page"


def test_what_needs_attention_comes_first(plane, evidence):
    domain = plane.domain()
    plane.version(domain, evidence["INCONCLUSIVE"])
    plane.launcher.script = ["ACCESS_DENIED"]
    plane.settle(plane.submit(plane.domain("locked-cams")).id)
    _log_in(plane)
    text = plane.client.get("/console/").text
    assert "foggy-cams@1 waits for a decision" in text
    assert "ACCESS_DENIED" in text


def test_many_domains_come_in_pages(plane):
    for number in range(120):
        plane.domain(f"cam-{number:03d}")
    _log_in(plane)
    seen, path = [], "/console/domains"
    while path:
        text = plane.client.get(path).text
        seen += re.findall(r'href="/console/domains/(cam-\d{3})"', text)
        following = re.search(r'href="(/console/domains\?after=\d+&prefix=)">Next', text)
        path = following.group(1) if following else ""
    assert sorted(seen) == [f"cam-{number:03d}" for number in range(120)]
