"""What the console's pages say: of every kind of thing, of none, of ten thousand, and of what is broken."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import get_args

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import insert

from udair_jobs.manifests import ManifestHeader, ManifestRow, to_parquet
from udair_jobs.specs import Reason
from udair_jobs.storage import open_storage
from udair_jobs.sweep_report import write_table
from udair_jobs.sweep_specs import Choices, Range, SweepResult, SweepSpec, Trial
from udair_platform.console.app import create_console
from udair_platform.console.wording import ENDINGS
from udair_platform.entities.domain import CHAMPION, GateRules, Traffic
from udair_platform.entities.job import JobState
from udair_platform.registry import layout, promotion
from udair_platform.state.repositories.rows import table_of
from udair_platform.state.tables import AliasRow, DomainRow


@pytest.fixture
def look_at(make_plane):
    """A plane with a console, and what logs in and reads a page."""

    def make(**settings):
        plane = make_plane(**settings)
        app = plane.client.app
        app.mount("/console", create_console(app.state.context))
        plane.client.headers.pop("Authorization")
        plane.client.follow_redirects = False
        log_in(plane)
        return plane

    return make


@pytest.fixture
def plane(look_at):
    return look_at()


def log_in(plane, token: str | None = None) -> None:
    plane.client.cookies.clear()
    answer = plane.client.post("/console/login", data={"key": token or plane.admin_token})
    assert answer.status_code == 303


def read(plane, path: str) -> str:
    answer = plane.client.get(f"/console{path}")
    assert answer.status_code == 200, answer.text
    return answer.text


def words(html: str) -> str:
    """The text of a page, with single spaces."""
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))
    return re.sub(r" ([.,:])", r"\1", text)


def form_token(plane) -> str:
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', read(plane, "/"))
    assert found is not None
    return found.group(1)


def webp(side: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "WEBP", quality=80)
    return sink.getvalue()


def publish_gallery(plane, domain, number: int, count: int, kinds=("camera", "source", "adapted")) -> None:
    """What a job publishes: pictures, and their index."""
    with plane.database.read() as state:
        folder = open_storage(state.versions.get("acme", domain.id, number).candidate_uri)
    picture, items = webp(384), []
    for at in range(count):
        files = {kind: f"gallery-{at:03d}-{kind}.webp" for kind in kinds}
        for name in files.values():
            folder.put(name, picture)
        items.append({"key": f"cam/bild {at} für alle.png", "files": files, "width": 384, "height": 384, "change": 0.1,
                      "niqe_rise": 2.0 - at})  # fmt: skip
    folder.put("gallery.json", json.dumps({"images": items}).encode())


def report(plane, replica: str, domains: dict, load: dict | None = None) -> None:
    """What a replica of the data plane writes."""
    now = plane.clock().timestamp()
    told = {"replica": replica, "began_time": now - 3600, "time": now, "load": load or {}, "domains": domains}
    plane.store.put(layout.report(replica), json.dumps(told).encode())


WINDOW = {
    "began_time": 1.0, "ended_time": 3600.0, "images": 64, "divergence": 0.31, "threshold": 0.05, "crossed": True,
    "confirmed": True, "class_shares": {"haze": 0.41, "clean": 0.59}, "code_shares": [0.5, 0.25, 0.25],
    "reference_class_shares": {"haze": 0.12, "clean": 0.88},
}  # fmt: skip
SPEC = SweepSpec(
    kind="tta", source_uri="s3://acme/cams", output_uri="x",
    space={"steps": Range(low=1, high=20, integer=True), "learning_rate": Range(low=1e-4, high=0.1, log=True),
           "reset": Choices(choices=["request", "stream"])},
)  # fmt: skip


def test_pages_of_an_empty_platform_say_what_to_do_first(plane):
    for path, hint in (
        ("/", "udair domain create"), ("/domains", "udair domain create"), ("/jobs", "udair run"),
        ("/sweeps", "udair_jobs.sweep"), ("/serving", "No replica has reported"), ("/usage", "Nothing was used yet"),
        ("/domains?prefix=zzz", "begins with “zzz”"), ("/audit?noun=webhook", "Nothing of that kind"),
    ):  # fmt: skip
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
    key = f"{layout.attempt('acme', domain.name, job.id, 1)}/{layout.LOG}"
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
    plane.store.put(f"{layout.attempt('acme', domain.name, job.id, 1)}/{layout.LOG}", b"first\nsecond\n")
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
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
        with browser.stream("GET", f"{base}/log", headers=headers) as log:
            data = next(line for line in log.iter_lines() if line.startswith("data: "))
        assert data == "data: second", "it goes on where the browser was"


def test_ten_thousand_domains_are_paged_and_found_by_prefix(plane):
    now, rows = plane.clock(), []
    for number in range(10_000):
        rows.append({
            "id": f"d-{number}", "tenant": "acme", "name": f"{'yard' if number % 2 else 'port'}-{number:05d}",
            "description": "Küste 港", "traffic": Traffic(), "source_uri": "s3://acme-photos/x", "gate": GateRules(),
            "state": "ACTIVE", "created_time": now, "updated_time": now, "row_version": 1,
        })  # fmt: skip
    aliases = [
        {"domain_id": row["id"], "name": CHAMPION, "tenant": "acme", "version": 0, "updated_time": now, "row_version": 1}
        for row in rows
    ]  # fmt: skip
    with plane.database.write() as state:
        for table, values in ((DomainRow, rows), (AliasRow, aliases)):
            state.events._connection.execute(insert(table_of(table)), values)

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


@pytest.mark.parametrize("path", ["/domains?after=-1", "/domains?after=x", f"/domains?prefix={'a' * 64}", "/jobs?after=1e9",
                                  "/domains/foggy-cams/versions/x", "/domains/none", "/nothing", "/sweeps/..%2fx",
                                  "/sweeps/none", "/domains/foggy-cams/snapshots/s-none", "/audit?after=" + "9" * 40])  # fmt: skip
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


def test_a_snapshot_shows_its_images_its_codes_and_what_was_skipped(plane):
    domain = plane.domain()
    number = plane.version(domain)
    with plane.database.read() as state:
        version = state.versions.get("acme", domain.id, number)
        snapshot = state.snapshots.get("acme", version.snapshot_id)
    path = f"/domains/{domain.name}/snapshots/{snapshot.id}"
    bare = words(read(plane, path))
    assert "No thumbnails: version 1's job published none" in bare
    assert "Not known" in bare

    publish_gallery(plane, domain, number, 3)
    profile = {
        "images": 24,
        "code_shares": [0.75, 0.25, 0.0],
        "class_shares": {"low_light": 0.9, "rain": 0.1},
        "sample": [],
    }
    open_storage(version.candidate_uri).put("profile.json", json.dumps(profile).encode())
    rows = [
        ManifestRow("a.png", "e", 9, "2026"),
        ManifestRow("schnee/ü.txt", "e", 9, "2026").skip("NOT_AN_IMAGE", "9 bytes <b>"),
    ]
    open_storage(snapshot.uri).put("manifest.parquet", to_parquet(ManifestHeader(snapshot.id, "s3://x", 0.1), rows))
    report(plane, "r1", {f"acme/{domain.name}": {"usage": {}, "drift": WINDOW}})
    page = read(plane, path)
    assert page.count("/thumbs/gallery-") == 3
    for said in ("low light", "90 %", "schnee/ü.txt", "9 bytes &lt;b&gt;", "beside the newest window of traffic"):
        assert said in page
    chart = re.search(r'data-chart="([^"]+)"', page)
    assert chart is not None
    drawn = json.loads(chart.group(1).replace("&#34;", '"'))
    assert [one["values"] for one in drawn["series"]] == [[75.0, 25.0, 0.0], [50.0, 25.0, 25.0]]
    open_storage(version.candidate_uri).put("profile.json", b"{broken")
    open_storage(snapshot.uri).put("manifest.parquet", b"broken")
    assert "cannot be read" in words(read(plane, path)), "what is damaged costs its part of the page"


def test_a_gallery_shows_a_page_of_thumbnails_and_one_picture_large(plane):
    domain = plane.domain()
    number = plane.version(domain)
    publish_gallery(plane, domain, number, 60, ("camera", "source", "adapted", "previous"))
    base = f"/domains/{domain.name}/versions/{number}"
    first = read(plane, base)
    assert first.count("/thumbs/") == 24
    assert "60 images" in words(first)
    assert "bild 0 für alle.png, source model" in first
    for option in ("served before", "camera", "this version"):
        assert option in first
    last = read(plane, f"{base}?image=59")
    assert last.count("/thumbs/") == 12
    assert "bild 59 für alle.png, this version" in last
    assert read(plane, f"{base}?image=9999") == last, "beyond the end is the end"

    thumb = plane.client.get(f"/console{base}/thumbs/gallery-003-adapted.webp")
    assert (thumb.status_code, thumb.headers["content-type"]) == (200, "image/webp")
    assert Image.open(io.BytesIO(thumb.content)).size == (176, 176)
    assert "immutable" in thumb.headers["cache-control"]


def test_a_picture_of_a_hundred_megapixels_is_not_decoded(plane):
    domain = plane.domain()
    number = plane.version(domain)
    publish_gallery(plane, domain, number, 1)
    with plane.database.read() as state:
        folder = open_storage(state.versions.get("acme", domain.id, number).candidate_uri)
    # The header of a lossless WebP of 10,000 x 10,000, and nothing behind it: whoever decodes it fails otherwise.
    header = b"VP8L" + (20).to_bytes(4, "little") + b"\x2f" + (9999 | 9999 << 14).to_bytes(4, "little") + bytes(15)
    folder.put("gallery-000-adapted.webp", b"RIFF" + (4 + len(header)).to_bytes(4, "little") + b"WEBP" + header)
    base = f"/console/domains/{domain.name}/versions/{number}"
    answer = plane.client.get(f"{base}/thumbs/gallery-000-adapted.webp")
    assert answer.status_code == 404
    assert plane.client.get(base).status_code == 200
    folder.put("gallery-000-adapted.webp", b"no picture")
    assert plane.client.get(f"{base}/thumbs/gallery-000-adapted.webp").status_code == 404


def test_drift_is_said_in_words_and_drawn_over_time(plane):
    domain = plane.domain()
    report(
        plane,
        "r1",
        {f"acme/{domain.name}": {"usage": {}, "drift": {**WINDOW, "ended_time": plane.clock().timestamp()}}},
    )
    for day in (3, 2):
        with plane.database.write() as state:
            state.record(
                tenant="acme", now=plane.clock() - timedelta(days=day), actor="serving", cause="report", noun="route",
                name=domain.name, kind="domain.drifted", domain_id=domain.id, data={"divergence": 0.1 * day, "threshold": 0.05},
            )  # fmt: skip
    text = read(plane, f"/domains/{domain.name}")
    assert "haze 12 % → 41 %, clean 88 % → 59 %." in words(text)
    chart = re.search(r'data-chart="([^"]+)"', text)
    assert chart is not None
    drawn = json.loads(chart.group(1).replace("&#34;", '"'))
    assert [round(value, 2) for value in drawn["series"][0]["values"]] == [0.3, 0.2, 0.31]
    assert "sees other images" not in read(plane, "/"), "older than two days"


def test_serving_shows_pace_and_bank_to_the_operator_and_each_tenant_its_own(look_at):
    plane = look_at(default_tenant="acme")
    plane.domain("busy-cams")
    load = {"images_per_s": 4.5, "p50_s": 0.1, "p99_s": 0.25, "waiting": 2, "resident": 7, "slots": 64, "evictions": 1}
    use = {"usage": {"images": 10, "pixels": 5_000_000, "forward_s": 2.0, "failed": 1}, "drift": None}
    blocked = use | {"blocked": {"version": 3, "serving": 0, "reason": "damaged"}}
    report(plane, "r-one", {"acme/busy-cams": blocked, "globex/secret-cams": use}, load)
    report(plane, "r-two", {"acme/busy-cams": use})
    shown = words(read(plane, "/serving"))
    for said in ("r-one", "r-two", "4.5", "250 ms", "7 of 64", "busy-cams 20 200 ms 10 2 blocked 2"):
        assert said in shown, said
    assert "secret-cams" not in shown
    log_in(plane, plane.token("admin", tenant="globex"))
    theirs = words(read(plane, "/serving"))
    assert "secret-cams" in theirs
    for hidden in ("busy-cams", "r-one", "7 of 64"):
        assert hidden not in theirs
    report(plane, "r-odd", {"acme/busy-cams": use}, {"images_per_s": None})
    plane.store.put(layout.report("r-half"), b'{"time": ')
    assert plane.client.get("/console/serving").status_code == 200


def test_usage_is_hours_and_with_prices_money(look_at):
    plane = look_at(price_per_job_hour=3.6, price_per_model_hour=36.0, price_currency="EUR")
    domain = plane.domain()
    job = plane.submit(domain)
    with plane.database.write() as state:
        known, now = state.jobs.get("acme", job.id), plane.clock()
        state.jobs.save(replace(known, state=JobState.FAILED, started_time=now - timedelta(hours=1), finished_time=now))
    report(
        plane,
        "r1",
        {f"acme/{domain.name}": {"usage": {"images": 5, "pixels": 10**7, "forward_s": 100.0}, "drift": None}},
    )
    shown = words(read(plane, "/usage"))
    assert "foggy-cams 1 1.0 h 5 10 1 min 40 s 4.60 EUR" in shown
    plane.clock.forward(31 * 86_400)
    log_in(plane)
    assert "Nothing was used yet" in words(read(plane, "/usage"))


def test_a_sweep_shows_what_was_tried_and_what_mattered(plane):
    folder = plane.store.at("sweeps/acme/tta-nacht")
    folder.put("spec.json", SPEC.model_dump_json().encode())
    folder.put("progress.json", json.dumps({"phase": "SEARCHING", "progress_percent": 40.0}).encode())
    assert "searching 40 %" in words(read(plane, "/sweeps"))
    running = read(plane, "/sweeps/tta-nacht")
    assert 'value="40.0"' in running
    assert "when the sweep has ended" in words(running)

    trials = [
        Trial(trial_id=f"t{n}", state="COMPLETED", score_db=1.0 - n / 10, check_db=0.9 - n / 10,
              values={"steps": 5 + n, "learning_rate": 0.01, "reset": "stream"})
        for n in range(5)
    ] + [Trial(trial_id="t9", state="FAILED", values={"steps": 20}, detail="NAN_LOSS: <q9>")]  # fmt: skip
    write_table(folder, trials)
    result = SweepResult(
        kind="tta", objective="pseudo-target gain", trials=6, by_state={"COMPLETED": 5, "FAILED": 1}, best=trials[0],
        default=trials[4], improved=True, importance={"steps": 0.75, "learning_rate": 0.25},
        tuned_uri=f"{folder.uri}/tuned/best.yaml", seconds=10.0,
    )  # fmt: skip
    folder.put("result.json", result.model_dump_json().encode())
    page = read(plane, "/sweeps/tta-nacht")
    shown = words(page)
    assert page.count("<polyline") == 5, "a trial without a score has no line"
    for said in ("The best is better than the default", "steps 75 %", "t9", "NAN_LOSS: <q9>", "+tuned=best"):
        assert said in shown, said
    assert "<q9>" not in page
    folder.put("trials.parquet", b"broken")
    assert plane.client.get("/console/sweeps/tta-nacht").status_code == 200
    plane.store.at("sweeps/acme/broken").put("spec.json", b"{}")
    assert "broken" not in words(read(plane, "/sweeps"))

    log_in(plane, plane.token("admin", tenant="globex"))
    assert "tta-nacht" not in read(plane, "/sweeps")
    assert plane.client.get("/console/sweeps/tta-nacht").status_code == 404


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

    with plane.database.write() as state:
        promotion.promote(state, domain, number, actor="key:other", reason="theirs", now=plane.clock())
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
