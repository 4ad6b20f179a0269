"""What the console's pages say: of nothing, of ten thousand, of failures, and to whom."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import httpx
import pytest
from console_visitor import form_token, log_in, open_console, read, words
from sqlalchemy import insert

from udair_jobs.specs import Reason
from udair_platform.console.wording import ENDINGS
from udair_platform.contract.domains import GateRules, Schedule, Traffic
from udair_platform.documents import store_paths
from udair_platform.entities.alias import CHAMPION
from udair_platform.entities.job import JobState
from udair_platform.services import promotion
from udair_platform.state.tables import ALIASES, DOMAINS


@pytest.fixture
def look_at(make_plane):
    """Makes planes whose console is open."""
    return lambda **settings: open_console(make_plane(**settings))


@pytest.fixture
def plane(look_at):
    return look_at()


def test_pages_of_an_empty_platform_say_what_to_do_first(plane):
    for path, hint in (
        ("/", "udair domain create"),
        ("/domains", "udair domain create"),
        ("/jobs", "udair run"),
        ("/sweeps", "udair sweep run tta"),
        ("/serving", "No replica has reported"),
        ("/usage", "Nothing was used yet"),
        ("/domains?prefix=zzz", "begins with “zzz”"),
        ("/audit?noun=webhook", "Nothing of that kind"),
    ):
        assert hint in words(read(plane, path)), path


def test_every_reason_of_a_failure_is_explained_with_a_next_step(plane):
    assert set(ENDINGS) == set(get_args(Reason))
    job = plane.submit(plane.domain())
    for reason, (happened, step) in ENDINGS.items():
        with plane.database.write() as state:
            known = state.jobs.get("acme", job.id)
            failed = replace(known, state=JobState.FAILED, reason=reason, detail=f"<it> was {reason}")
            state.jobs.save(failed)
        text = read(plane, f"/domains/foggy-cams/jobs/{job.id}")
        assert f"{reason} {happened} <it> was {reason} Next: {step}" in words(text)
        assert "<it>" not in text
        assert happened.endswith(".")
        assert step.endswith(".")


def test_a_job_that_waits_shows_what_for(plane):
    job = plane.submit(plane.domain())
    with plane.database.write() as state:
        waiting = replace(state.jobs.get("acme", job.id), state=JobState.PROVISIONING, reason="NO_CAPACITY")
        state.jobs.save(replace(waiting, detail="0/3 nodes are available: insufficient nvidia.com/gpu"))
    text = words(read(plane, f"/domains/foggy-cams/jobs/{job.id}"))
    assert "NO_CAPACITY 0/3 nodes are available: insufficient nvidia.com/gpu" in text
    assert "Next:" not in text, "nobody has to do anything yet"


def test_a_job_shows_how_far_it_is_and_what_it_printed(plane):
    domain = plane.domain()
    plane.launcher.script = ["run"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    plane.clock.forward(5)
    plane.reconciler.tick()
    for path in ("/", "/jobs", f"/domains/{domain.name}/jobs/{job.id}"):
        text = read(plane, path)
        assert 'value="40.0"' in text, path
        assert "data-refresh" in text, path
    assert plane.printed(job.id)
    key = f"{store_paths.attempt('acme', domain.name, job.id, 1)}/{store_paths.LOG}"
    plane.store.put(key, "zeile eins – ü\n".encode())
    with plane.database.write() as state:
        running = state.jobs.get("acme", job.id)
        state.jobs.save(replace(running, state=JobState.CANCELLED, reason="USER_CANCELLED"))
    assert plane.client.get(f"/console/domains/{domain.name}/jobs/{job.id}/log").text == "zeile eins – ü\n"
    assert "data-refresh" not in read(plane, f"/domains/{domain.name}/jobs/{job.id}")


def test_events_and_log_of_a_running_job_come_as_streams_and_a_slow_reader_holds_nobody_up(plane, serve):
    domain = plane.domain()
    plane.launcher.script = ["run"]
    job = plane.submit(domain)
    plane.reconciler.tick()
    plane.clock.forward(5)
    plane.reconciler.tick()
    assert plane.printed(job.id)
    plane.store.put(f"{store_paths.attempt('acme', domain.name, job.id, 1)}/{store_paths.LOG}", b"first\nsecond\n")
    url = serve(plane.client.app)
    base = f"{url}/console/domains/{domain.name}/jobs/{job.id}"
    with httpx.Client(cookies=dict(plane.client.cookies), timeout=20) as browser:
        with browser.stream("GET", f"{base}/stream") as slow:
            assert slow.headers["content-type"].startswith("text/event-stream")
            assert "content-encoding" not in slow.headers, "a compressed stream would be held back"
            assert browser.get(base).status_code == 200
            kinds = []
            for line in slow.iter_lines():
                kinds += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                if "job.RUNNING" in kinds:
                    break
        assert kinds[0] == "job.QUEUED"
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1.6"}
        with browser.stream("GET", f"{base}/log", headers=headers) as log:
            data = next(line for line in log.iter_lines() if line.startswith("data: "))
        assert data == "data: second", "it goes on where the browser was"


def test_ten_thousand_domains_are_paged_and_found_by_prefix(plane):
    now, rows = plane.clock(), []
    for number in range(10_000):
        rows.append(
            {
                "id": f"d-{number}",
                "tenant": "acme",
                "name": f"{'yard' if number % 2 else 'port'}-{number:05d}",
                "description": "Küste 港",
                "traffic": Traffic(),
                "schedule": Schedule(),
                "external_id": "",
                "source_uri": "s3://acme-photos/x",
                "gate": GateRules(),
                "state": "ACTIVE",
                "created_time": now,
                "updated_time": now,
                "row_version": 1,
            }
        )
    aliases = [
        {
            "domain_id": row["id"],
            "name": CHAMPION,
            "tenant": "acme",
            "version": 0,
            "updated_time": now,
            "row_version": 1,
        }
        for row in rows
    ]
    with plane.database.write() as state:
        for table, values in ((DOMAINS, rows), (ALIASES, aliases)):
            state.events._connection.execute(insert(table), values)

    first = read(plane, "/domains")
    assert "10\u2009000" in first
    assert "Küste 港" in first
    assert len(re.findall(r'href="/console/domains/(port|yard)-\d+"', first)) == 50
    assert len(first) < 100_000
    found = read(plane, "/domains?prefix=Port-0900")
    assert sorted(set(re.findall(r"port-\d{5}", found))) == [f"port-{n:05d}" for n in range(9000, 9010, 2)]
    following = re.search(
        r'href="(/console/domains\?after=\d+&(?:amp;)?prefix=yard-)"', read(plane, "/domains?prefix=yard-")
    )
    assert following is not None
    assert "port-" not in plane.client.get(following.group(1)).text
    for wild in ("%25", "_", "%25ard", "yard_0000"):
        assert "begins with" in words(read(plane, f"/domains?prefix={wild}")), "wildcards are characters like others"


@pytest.mark.parametrize(
    "path",
    [
        "/domains?after=-1",
        "/domains?after=x",
        f"/domains?prefix={'a' * 64}",
        "/jobs?after=1e9",
        "/domains/foggy-cams/versions/x",
        "/domains/none",
        "/nothing",
        "/sweeps/..%2fx",
        "/sweeps/none",
        "/domains/foggy-cams/snapshots/s-none",
        "/audit?after=" + "9" * 40,
    ],
)
def test_what_cannot_be_answered_is_a_page_that_leads_back(plane, path):
    plane.domain()
    answer = plane.client.get(f"/console{path}")
    assert answer.status_code in (400, 404)
    assert "Back to the overview" in answer.text
    assert "/console/logout" in answer.text, "who is logged in stays so"


def test_a_key_that_has_expired_leads_to_the_login(plane):
    token = plane.token("domain:read", expires=plane.clock() + timedelta(hours=1))
    log_in(plane, token)
    assert plane.client.get("/console/domains").status_code == 200
    plane.clock.forward(3601)
    answer = plane.client.get("/console/domains")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=/console/domains")


def test_pages_count_against_the_keys_rate_limit_together_with_the_api(look_at):
    plane = look_at(rate_limit_per_minute=5)
    headers = {"Authorization": f"Bearer {plane.admin_token}"}
    for left in (4, 3, 2):
        assert plane.client.get("/console/domains").headers["ratelimit-remaining"] == str(left)
    for _ in range(2):
        assert plane.client.get("/v1/domains", headers=headers).status_code == 200
    answer = plane.client.get("/console/domains")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "within a minute" in answer.text
    assert plane.client.get("/v1/domains", headers=headers).status_code == 429


def test_static_files_are_kept_by_browsers_and_pages_are_not(plane):
    page = plane.client.get("/console/")
    address = re.search(r'href="(/console/static/console\.css\?v=[0-9a-f]{12})"', page.text)
    assert address is not None
    style = plane.client.get(address.group(1))
    assert "immutable" in style.headers["cache-control"]
    assert (page.headers["content-encoding"], style.headers["content-encoding"]) == ("gzip", "gzip")
    assert page.headers["cache-control"] == "no-store"


def test_who_promoted_can_undo_it_for_a_while(plane):
    domain = plane.domain()
    number = plane.version(domain)
    token = form_token(plane)
    base = f"/console/domains/{domain.name}"
    assert "Undo" not in read(plane, f"/domains/{domain.name}")
    form = {"form_token": token, "version": number, "if_current": 0}
    assert plane.client.post(f"{base}/promote", data=form).status_code == 303
    shown = read(plane, f"/domains/{domain.name}")
    assert f"Version {number} serves now." in words(shown)
    undo = dict(re.findall(r'name="(if_current|reason)" value="([^"]*)"', shown[shown.index('class="done"') :]))
    assert plane.client.post(f"{base}/rollback", data={"form_token": token, **undo}).status_code == 303
    undone = words(read(plane, f"/domains/{domain.name}"))
    assert "The source model serves now." in undone
    assert "undone in the console" in undone
    plane.clock.forward(601)
    assert "serves now." not in words(read(plane, f"/domains/{domain.name}"))

    with plane.change("key:other") as tx:
        promotion.promote(tx, domain, number, reason="theirs")
    assert "serves now." not in words(read(plane, f"/domains/{domain.name}")), "somebody else's is not mine to undo"


def test_a_reader_sees_no_button_that_it_may_not_press(plane):
    domain = plane.domain()
    number = plane.version(domain)
    job = plane.submit(domain)
    log_in(plane, plane.token("domain:read"))
    for path in (
        f"/domains/{domain.name}",
        f"/domains/{domain.name}/versions/{number}",
        f"/domains/{domain.name}/jobs/{job.id}",
    ):
        forms = re.findall(r'<form method="post" action="([^"]+)"', read(plane, path))
        assert forms == ["/console/logout"], path
    log_in(plane, plane.token("restore:invoke"))
    assert plane.client.get("/console/").status_code == 403
    assert plane.client.get(f"/console/domains/{domain.name}/jobs/{job.id}/log").status_code == 403
