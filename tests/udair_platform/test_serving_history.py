"""What served when, why, and approved by whom: put together from what happened, signed, and checked."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from command_line import udair
from console_visitor import open_console, read

from udair_platform.client import InvalidRequest, NotFound
from udair_platform.contract.domains import Share, Traffic
from udair_platform.entities.intent import Intent
from udair_platform.services import approval, domains, promotion, reports, serving_history, traffic

NAME = "foggy-cams"
URL = f"/v1/domains/{NAME}/servedHistory"


@pytest.fixture
def busy(plane, evidence):
    """A domain whose story has a chapter of every kind, an hour each."""

    def chapter(step) -> None:
        plane.clock.forward(3600)
        with plane.change("key:ann") as tx:
            step(tx, tx.state.domains.get("acme", NAME))

    domain = plane.domain(NAME)
    plane.version(domain)
    plane.version(domain, evidence["INCONCLUSIVE"])
    plane.began = plane.clock()
    chapter(lambda tx, d: promotion.promote(tx, d, 1, reason="looks right"))
    chapter(lambda tx, d: approval.approve(tx, d, 2, reason="seen on site"))
    chapter(lambda tx, d: traffic.set_traffic(tx, d, Traffic(canary=Share(version=2, percent=10)), reason="try it"))
    chapter(lambda tx, d: promotion.promote(tx, d, 2, reason="canary was good"))
    chapter(lambda tx, d: domains.judge_base(tx, d, "it loses 2 dB"))
    chapter(lambda tx, d: domains.change(tx, d, intent=Intent("restore", 0.5)))
    chapter(lambda tx, d: domains.change(tx, d, intent=Intent("keep")))
    chapter(
        lambda tx, d: tx.record(d, reports.BLOCKED, {"version": 2, "serving": 1, "reason": "damaged"}, noun="route")
    )
    chapter(lambda tx, d: promotion.rollback(tx, d, reason="=HYPERLINK(1)"))
    plane.clock.forward(3600)
    return plane


def spans(plane, **params) -> list[dict]:
    answer = plane.client.get(URL, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["spans"]


def test_every_stretch_of_time_says_what_answered_why_and_who_approved_it(busy) -> None:
    hour = [busy.began + timedelta(hours=count) for count in range(11)]
    told = [
        (
            one["role"],
            one["version"],
            one["answered"],
            one["percent"],
            hour.index(datetime.fromisoformat(one["from_time"])),
            one["reason"],
        )
        for one in spans(busy)[1:]
    ]
    assert told == [
        ("champion", 1, 1, 100, 1, "looks right"),
        ("canary", 2, 2, 10, 3, "try it"),
        ("champion", 1, 1, 90, 3, "looks right"),
        ("champion", 2, 2, 100, 4, "canary was good"),
        ("champion", 2, 0, 100, 6, "canary was good"),
        ("champion", 2, 2, 100, 7, "canary was good"),
        ("blocked", 2, 1, 0, 8, "request"),
        ("champion", 1, 1, 100, 9, "=HYPERLINK(1)"),
    ]
    found = spans(busy)
    assert (found[0]["version"], found[0]["reason"], found[0]["adapter_digest"]) == (0, "domain created", None)
    champions = [one for one in found if one["role"] == "champion"]
    assert [one["to_time"] for one in champions[:-1]] == [one["from_time"] for one in champions[1:]]
    assert champions[-1]["to_time"] is None
    approved = next(one for one in found if one["version"] == 2)
    assert (approved["verdict"], approved["reviewed_by"]) == ("INCONCLUSIVE", "key:ann")
    assert approved["review_reason"] == "seen on site"
    stopped = next(one for one in found if one["version"] == 2 and one["answered"] == 0)
    assert "made for tone keep" in stopped["note"]
    assert (stopped["adapter_digest"], stopped["restoration"]) == (None, "model")  # another tone ends as it came
    with busy.database.read() as state:
        version = state.versions.get("acme", state.domains.get("acme", NAME).id, 2)
    assert approved["adapter_digest"] == version.adapter_digest


def test_a_stretch_of_pictures_served_as_they_came_says_so(plane) -> None:
    domain = plane.domain(NAME)
    for loses in ("it loses 2 dB", ""):
        plane.clock.forward(60)
        with plane.change() as tx:
            domain = domains.judge_base(tx, domain, loses)
    told = [(one["restoration"], one["note"]) for one in spans(plane)]
    assert told == [("model", ""), ("none", "it loses 2 dB"), ("model", "")]


def test_another_base_model_puts_what_served_out_of_use(plane) -> None:
    domain = plane.domain(NAME)
    plane.version(domain)
    with plane.change() as tx:
        promotion.promote(tx, domain, 1, reason="good")
    plane.clock.forward(60)
    with plane.change() as tx:
        base = tx.state.bases.current()
        tx.state.bases.add(replace(base, digest="9" * 64, created_time=plane.clock()))
    plane.clock.forward(60)
    last = spans(plane)[-1]
    assert (last["version"], last["answered"], last["base_digest"]) == (1, 0, "9" * 64)
    assert "was made for base model" in last["note"]


def test_a_period_holds_what_touches_it(busy) -> None:
    hour = [(busy.began + timedelta(hours=count)).isoformat() for count in range(11)]
    middle = spans(busy, **{"from": hour[3], "to": hour[4]})
    assert [(one["role"], one["version"]) for one in middle] == [("canary", 2), ("champion", 1)]
    assert middle[0]["to_time"] is None  # it goes on when the period ends
    assert spans(busy, **{"from": hour[1], "to": hour[2]})[-1]["to_time"] is None
    day = busy.began.date().isoformat()
    assert spans(busy, to=day) == spans(busy)
    assert spans(busy, **{"from": day}) == spans(busy)
    for params in (
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": hour[4], "to": hour[3]},
        {"from": "9999-12-31"},
    ):
        answer = busy.client.get(URL, params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST"), params
    assert busy.client.get(URL, params={"format": "xml"}).status_code == 400


def test_the_table_for_spreadsheets_holds_the_same_and_no_formula(busy) -> None:
    answer = busy.client.get(URL, params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["from_time"] for row in rows] == [one["from_time"] for one in spans(busy)]
    assert rows[-1]["reason"] == "'=HYPERLINK(1)"
    assert {row["domain"] for row in rows} == {NAME}


def test_an_export_is_checked_to_the_byte_and_for_its_tenant(live) -> None:
    live.plane.domain(NAME)
    with live.client() as client:
        export = client.domains.get(NAME).served_history()
        assert export.history().domain == NAME
        assert client.verify_history(export.data, export.signature).genuine
        table = client.domains.get(NAME).served_history(format="csv")
        assert client.verify_history(table.data, table.signature).genuine

        changed = client.verify_history(export.data.replace(b"champion", b"champio_"), export.signature)
        assert (changed.genuine, changed.domain) == (False, NAME)
        assert "was changed" in changed.detail
        assert not client.verify_history(export.data, table.signature).genuine
        forged = serving_history.signature(b"x" * 32, export.history(), export.data, live.plane.clock())
        assert client.verify_history(export.data, forged).domain is None
        theirs = export.history().model_copy(update={"tenant": "globex"})
        signed = serving_history.signature(live.plane.signing_key, theirs, export.data, live.plane.clock())
        with pytest.raises(NotFound):
            client.verify_history(export.data, signed)
        with pytest.raises(InvalidRequest):
            client.domains.get(NAME).served_history(since="soon")


def test_the_command_line_writes_checks_and_shows_it(live, tmp_path) -> None:
    live.plane.domain(NAME)
    out, _ = udair(live, "domain", "history", NAME)
    assert "domain created" in out
    for file in (tmp_path / "story.csv", tmp_path / "story.json"):
        out, _ = udair(live, "domain", "history", NAME, "-o", str(file))
        assert "not a byte is another" in out
        assert file.with_name(file.name + ".signature").exists()
    assert file.read_bytes()[:1] == b"{"
    udair(live, "domain", "history", NAME, "--verify", str(file))
    file.write_bytes(file.read_bytes() + b" ")
    out, _ = udair(live, "domain", "history", NAME, "--verify", str(file), code=1)
    assert "was changed" in out
    _, err = udair(live, "domain", "history", NAME, "-o", str(tmp_path / "no" / "where.csv"), code=1)
    assert "cannot be written" in err
    _, err = udair(live, "domain", "history", NAME, "--from", "soon", code=1)
    assert "from is 'soon'" in err


def test_the_console_gives_files_with_their_signatures(busy) -> None:
    open_console(busy)
    assert f"/console/domains/{NAME}/history.zip" in read(busy, f"/domains/{NAME}")
    answer = busy.client.get(f"/console/domains/{NAME}/history.zip")
    files = zipfile.ZipFile(io.BytesIO(answer.content))
    assert len(files.namelist()) == 4
    for suffix in ("csv", "json"):
        data, signature = (files.read(f"{NAME}-history.{suffix}{more}") for more in ("", ".signature"))
        digest = hashlib.sha256(data).hexdigest()
        check = serving_history.checked([busy.signing_key], signature.decode(), digest, tenant="acme")
        assert check.genuine
    assert busy.client.get("/console/domains/other/history.zip").status_code == 404
