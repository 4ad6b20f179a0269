"""What the console shows of what jobs and replicas leave behind: pictures, histograms, drift, load, usage, sweeps."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from console_visitor import log_in, open_console, read, words
from PIL import Image

from udair_jobs.images.manifests import ManifestHeader, ManifestRow, to_parquet
from udair_jobs.storage import open_storage
from udair_jobs.sweep.report import write_table
from udair_jobs.sweep.specs import Choices, Range, SweepResult, SweepSpec, Trial
from udair_platform.documents import store_paths
from udair_platform.entities.event import Event
from udair_platform.entities.job import JobState


@pytest.fixture
def look_at(make_plane):
    """Makes planes whose console is open."""
    return lambda **settings: open_console(make_plane(**settings))


@pytest.fixture
def plane(look_at):
    return look_at()


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
        items.append(
            {
                "key": f"cam/bild {at} für alle.png",
                "files": files,
                "width": 384,
                "height": 384,
                "change": 0.1,
                "niqe_rise": 2.0 - at,
            }
        )
    folder.put("gallery.json", json.dumps({"images": items}).encode())


def report(plane, replica: str, domains: dict, load: dict | None = None) -> None:
    """What a replica of the data plane writes."""
    now = plane.clock().timestamp()
    told = {"replica": replica, "began_time": now - 3600, "time": now, "load": load or {}, "domains": domains}
    plane.store.put(store_paths.report(replica), json.dumps(told).encode())


WINDOW = {
    "began_time": 1.0,
    "ended_time": 3600.0,
    "images": 64,
    "divergence": 0.31,
    "threshold": 0.05,
    "crossed": True,
    "confirmed": True,
    "class_shares": {"haze": 0.41, "clean": 0.59},
    "code_shares": [0.5, 0.25, 0.25],
    "reference_class_shares": {"haze": 0.12, "clean": 0.88},
}
SPEC = SweepSpec(
    kind="tta",
    source_uri="s3://acme/cams",
    output_uri="x",
    space={
        "steps": Range(low=1, high=20, integer=True),
        "learning_rate": Range(low=1e-4, high=0.1, log=True),
        "reset": Choices(choices=["request", "stream"]),
    },
)


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
    assert "bild 0 für alle.png, base model" in first
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
            state.events.add(
                Event(
                    tenant="acme",
                    time=plane.clock() - timedelta(days=day),
                    actor="serving",
                    cause="report",
                    noun="route",
                    name=domain.name,
                    kind="domain.drifted",
                    domain_id=domain.id,
                    data={"divergence": 0.1 * day, "threshold": 0.05},
                )
            )
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
    plane.store.put(store_paths.report("r-half"), b'{"time": ')
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
        Trial(
            trial_id=f"t{n}",
            state="COMPLETED",
            score_db=1.0 - n / 10,
            check_db=0.9 - n / 10,
            values={"steps": 5 + n, "learning_rate": 0.01, "reset": "stream"},
        )
        for n in range(5)
    ] + [Trial(trial_id="t9", state="FAILED", values={"steps": 20}, detail="NAN_LOSS: <q9>")]
    write_table(folder, trials)
    result = SweepResult(
        kind="tta",
        objective="pseudo-target gain",
        trials=6,
        by_state={"COMPLETED": 5, "FAILED": 1},
        best=trials[0],
        default=trials[4],
        improved=True,
        importance={"steps": 0.75, "learning_rate": 0.25},
        tuned_uri=f"{folder.uri}/tuned/best.yaml",
        seconds=10.0,
    )
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
