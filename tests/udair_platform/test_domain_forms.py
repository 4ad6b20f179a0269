"""What a domain's page changes: its schedule, how its requests are shared out, and what is said of what cannot be."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from console_visitor import form_token, log_in, open_console, read, words

from udair_platform.contract.domains import Share, Traffic
from udair_platform.services import promotion, traffic

BASE = "/console/domains/foggy-cams"


@pytest.fixture
def plane(make_plane):
    return open_console(make_plane())


def send(plane, form: str, status: int = 303, **fields: str) -> str:
    """Send a form of the page as a browser does; what comes back."""
    answer = plane.client.post(f"{BASE}/{form}", data={"form_token": form_token(plane)} | fields)
    assert answer.status_code == status, answer.text
    return answer.text


def kept(plane):
    with plane.database.read() as state:
        return state.domains.get("acme", "foggy-cams")


def fields(page: str, form: str) -> dict[str, str]:
    """What a form on the page holds: its texts and what is chosen."""
    html = re.search(rf'<form method="post" action="{BASE}/{form}">(.*?)</form>', page, re.S).group(1)
    texts = {}
    for tag in re.findall(r"<input[^>]*>", html):
        if (name := re.search(r'name="(\w+)"', tag)) and 'type="' not in tag:
            texts[name[1]] = re.search(r'value="([^"]*)"', tag)[1]
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', html, re.S):
        chosen = re.search(r'value="([^"]*)" selected', options)
        texts[name] = chosen[1] if chosen else re.search(r'value="([^"]*)"', options)[1]
    return texts


def test_a_schedule_is_made_changed_and_taken_away(plane) -> None:
    domain = plane.domain()
    with plane.change() as tx:
        schedule = domain.schedule.model_copy(update={"recipe": {"steps": 7}})
        tx.state.domains.save(replace(domain, schedule=schedule))
    send(plane, "schedule", cron=" 0 3 * * 1 ", on_drift="true")
    made = kept(plane)
    assert (made.schedule.cron, made.schedule.on_drift, made.schedule.recipe) == ("0 3 * * 1", True, {"steps": 7})
    assert made.next_run_time.isoformat() == "2026-11-30T03:00:00+00:00"
    page = read(plane, "/domains/foggy-cams")
    assert fields(page, "schedule") == {"cron": "0 3 * * 1"}
    assert 'name="on_drift" value="true" checked' in page
    assert "next adaptation in 7 d" in words(page)
    send(plane, "schedule")
    assert (kept(plane).schedule.cron, kept(plane).schedule.on_drift, kept(plane).next_run_time) == ("", False, None)


def test_a_schedule_that_is_none_is_said_beside_its_field_with_what_was_entered(plane) -> None:
    plane.domain()
    for cron, said in (("at <night>", "expected five fields, UTC"), ("* * * * *", "expected 0:15:00 or more")):
        page = send(plane, "schedule", 422, cron=cron, on_drift="true")
        assert re.search(r'<p class="bad small" id="schedule-cron-wrong">cron [^<]*' + re.escape(said), page)
        assert 'aria-invalid="true" aria-describedby="schedule-cron-wrong"' in page
        assert fields(page, "schedule") == {"cron": cron.replace("<", "&lt;").replace(">", "&gt;")}
        assert 'name="on_drift" value="true" checked' in page
        assert page.count('<details class="ask" open>') == 1
    assert kept(plane).schedule.cron == ""


def test_an_intent_that_cannot_be_is_said_the_same_way(plane) -> None:
    plane.domain()
    page = send(plane, "intent", 422, tone="restore", tone_aim="bright", reference_uri="s3://acme/clear")
    assert '<p class="bad small" id="intent-tone_aim-wrong">tone_aim is &#39;bright&#39;' in page
    assert fields(page, "intent") == {"tone": "restore", "tone_aim": "bright", "reference_uri": "s3://acme/clear"}
    page = send(plane, "intent", 422, tone="keep", reference_uri="ftp://x")
    assert 'id="intent-reference_uri-wrong"' in page


def test_requests_are_shared_out_and_all_back(plane, evidence) -> None:
    domain = plane.domain()
    for verdict in ("PASSED", "PASSED", "INCONCLUSIVE"):
        plane.version(domain, evidence[verdict])
    with plane.change() as tx:
        promotion.promote(tx, kept(plane), 1, reason="good")
    send(
        plane,
        "traffic",
        canary="2",
        canary_percent="12.5",
        shadow="3",
        shadow_percent="50",
        pinned="true",
        min_ready="2",
        reason="try",
    )
    shares = {"canary": Share(version=2, percent=12.5), "shadow": Share(version=3, percent=50)}
    wanted = Traffic(**shares, pinned=True, min_ready=2)
    assert kept(plane).traffic == wanted
    page = read(plane, "/domains/foggy-cams")
    assert fields(page, "traffic") == {
        "canary": "2",
        "canary_percent": "12.5",
        "shadow": "3",
        "shadow_percent": "50",
        "min_ready": "2",
        "reason": "",
    }
    canaries, shadows = re.findall(r'<select name="(?:canary|shadow)"[^>]*>(.*?)</select>', page, re.S)
    assert re.findall(r'value="(\d+)"', canaries) == ["2"], "not what serves, nor what the gate could not judge"
    assert re.findall(r'value="(\d+)"', shadows) == ["3", "2", "1"]
    with plane.database.read() as state:
        event = state.events.latest("acme", domain.id, "route.changed", size=1)[0]
    assert (event.cause, event.actor[:4]) == ("try", "key:")
    with plane.change() as tx:
        traffic.set_traffic(tx, kept(plane), Traffic(pinned=True, canary_auto_rollback=True), reason="by its route")
    send(plane, "traffic")
    assert kept(plane).traffic == Traffic(canary_auto_rollback=True), "what the form has no field for stays"


def test_shares_that_cannot_be_are_said_beside_their_fields(plane, evidence) -> None:
    domain = plane.domain()
    plane.version(domain)
    for field, given, said in (
        ("canary_percent", {"canary": "1", "canary_percent": "140"}, "The canary has 140 percent"),
        ("canary_percent", {"canary": "1"}, "The canary has no percent"),
        ("shadow_percent", {"shadow": "1", "shadow_percent": "nan"}, "The shadow has nan percent"),
        ("shadow_percent", {"shadow": "1", "shadow_percent": "few"}, "expected a number"),
        ("min_ready", {"min_ready": "101"}, "expected a number of replicas, 0 to 100"),
        ("min_ready", {"min_ready": "two"}, "expected a number of replicas"),
        ("canary", {"canary": "best", "canary_percent": "5"}, "expected the number of one"),
    ):
        page = send(plane, "traffic", 422, **given)
        assert re.search(rf'<p class="bad small" id="traffic-{field}-wrong">[^<]*{said}', page), page
        assert fields(page, "traffic").items() >= given.items()
    refused = plane.version(domain, evidence["FAILED"])
    page = send(plane, "traffic", 409, canary=str(refused), canary_percent="5")
    assert re.search(r'id="traffic--wrong" role="alert">[^<]+', page)
    assert kept(plane).traffic == Traffic()


def test_a_share_that_the_page_does_not_list_is_not_lost(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    with plane.change() as tx:
        traffic.set_traffic(tx, kept(plane), Traffic(shadow=Share(version=0, percent=20)), reason="look")
    page = read(plane, "/domains/foggy-cams")
    assert '<option value="0" selected>source model</option>' in page
    send(plane, "traffic", **fields(page, "traffic"))
    assert kept(plane).traffic == Traffic(shadow=Share(version=0, percent=20))


@pytest.mark.parametrize(("form", "scope"), [("schedule", "domain:write"), ("traffic", "version:approve")])
def test_forms_are_for_those_who_may_and_from_our_own_pages(plane, form, scope) -> None:
    plane.version(plane.domain())
    assert f"{BASE}/{form}" in read(plane, "/domains/foggy-cams")
    assert plane.client.post(f"{BASE}/{form}", data={"form_token": "0" * 64}).status_code == 403
    elsewhere = {"form_token": form_token(plane)}
    assert plane.client.post(f"{BASE}/{form}", data=elsewhere, headers={"Origin": "http://evil"}).status_code == 403
    log_in(plane, plane.token("domain:read"))
    assert f"{BASE}/{form}" not in read(plane, "/domains/foggy-cams")
    send(plane, form, 403)
    log_in(plane, plane.token("domain:read", scope))
    assert f"{BASE}/{form}" in read(plane, "/domains/foggy-cams")
    send(plane, form)
    log_in(plane, plane.token("domain:read", scope, only=("other",)))
    assert plane.client.post(f"{BASE}/{form}", data={"form_token": form_token(plane)}).status_code == 404
