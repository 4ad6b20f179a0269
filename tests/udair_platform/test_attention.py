"""What needs attention: one answer for the console, the API, the SDK and the command line."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from command_line import udair
from console_visitor import log_in, open_console, read, words

from udair_platform.contract.domains import Share, Traffic
from udair_platform.documents import store_paths
from udair_platform.entities.job import JobState
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.services import domains, promotion, sources
from udair_platform.services.observed import GONE_AFTER_S
from udair_platform.services.sources import Step


def _told(plane, token: str | None = None) -> list[tuple[str, str | None]]:
    headers = {"Authorization": f"Bearer {token or plane.admin_token}"}
    answer = plane.client.get("/v1/attention", headers=headers)
    assert answer.status_code == 200, answer.text
    return [(concern["kind"], concern["domain"]) for concern in answer.json()["concerns"]]


def _report(plane, id: str, age_s: float) -> None:
    report = {"replica": id, "time": plane.clock().timestamp() - age_s, "domains": {}}
    plane.store.put(store_paths.report(id), json.dumps(report).encode())


def test_nothing_needs_attention_until_something_does(plane):
    assert _told(plane) == []
    plane.domain()
    assert _told(plane) == []


def test_versions_that_somebody_must_decide_about(plane, evidence):
    refused, undecided, waiting, served = (plane.domain(f"{name}-cams") for name in ("bad", "few", "good", "live"))
    plane.version(refused, evidence["FAILED"])
    plane.version(undecided, evidence["INCONCLUSIVE"])
    number = plane.version(waiting, evidence["PASSED"])
    live = plane.version(served, evidence["PASSED"])
    with plane.change() as tx:
        promotion.promote(tx, served, live, reason="good")
    assert _told(plane) == [("refused", "bad-cams"), ("review", "few-cams"), ("waiting", "good-cams")]

    with plane.change() as tx:  # in a canary somebody has it in hand
        good = tx.state.domains.get("acme", "good-cams")
        tx.state.domains.save(replace(good, traffic=Traffic(canary=Share(version=number, percent=5))))
    assert ("waiting", "good-cams") not in _told(plane)
    with plane.change() as tx:  # what served and was rolled back waits for nobody
        promotion.rollback(tx, served, reason="bad light")
    assert ("waiting", "live-cams") not in _told(plane)
    plane.version(refused, evidence["PASSED"])
    assert ("refused", "bad-cams") not in _told(plane), "a newer version settles it"
    with plane.change() as tx:
        domains.delete(tx, tx.state.domains.get("acme", "few-cams"))
    assert ("review", "few-cams") not in _told(plane)


def test_domains_that_are_not_served_as_they_should_be(plane):
    stopped, as_it_came, changed = (plane.domain(f"{name}-cams") for name in ("old", "raw", "tone"))
    for domain in (stopped, changed):
        number = plane.version(domain)
        with plane.change() as tx:
            promotion.promote(tx, domain, number, reason="good")
    with plane.database.write() as state:
        raw = state.domains.get("acme", as_it_came.name)
        state.domains.save(replace(raw, passthrough="the base model loses 1 dB"))
    assert _told(plane) == [("as it came", "raw-cams")]
    with plane.database.write() as state:
        tone = state.domains.get("acme", changed.name)
        state.domains.save(replace(tone, tone="restore"))
    assert _told(plane) == [("out of use", "tone-cams"), ("as it came", "raw-cams")]
    with plane.database.write() as state:
        state.bases.add(RegisteredModel("udair-next", "c" * 64, "packaged:small", plane.clock()))
    assert _told(plane) == [("out of use", "old-cams"), ("out of use", "tone-cams"), ("as it came", "raw-cams")]


def test_sources_that_cannot_be_read_by_the_last_who_looked(plane):
    checked, ran, both = (plane.domain(f"{name}-cams") for name in ("checked", "ran", "both"))
    failed, fine = [Step("list", False, "bucket 'acmee' does not exist")], [Step("list", True, "3 objects")]

    def look(domain, steps):
        plane.clock.forward(1)
        with plane.change() as tx:
            sources.record(tx, domain, steps)

    def run(domain, reason):
        plane.clock.forward(1)
        job = plane.submit(domain)
        with plane.database.write() as state:
            known = state.jobs.get("acme", job.id)
            ended = JobState.FAILED if reason else JobState.SUCCEEDED
            state.jobs.save(replace(known, state=ended, reason=reason, updated_time=plane.clock()))

    for domain in (checked, both):
        look(domain, fine)
        look(domain, failed)
        look(domain, failed)
    with plane.database.read() as state:
        assert len(state.events.latest("acme", checked.id, sources.UNREADABLE, size=9)) == 1, "only what is new"
    run(ran, "SOURCE_NOT_FOUND")
    run(both, "SOURCE_NOT_FOUND")
    assert _told(plane) == [("unreadable", f"{name}-cams") for name in ("both", "checked", "ran")]
    look(checked, fine)
    run(both, None)
    assert _told(plane) == [("unreadable", "ran-cams")], "and not failed, too"
    look(ran, fine)
    assert _told(plane) == [("failed", "ran-cams")], "it can be read now; the job failed all the same"


def test_a_check_over_the_api_is_remembered(plane):
    plane.domain()
    answer = plane.client.post("/v1/domains/foggy-cams:checkAccess")
    assert answer.json()["ok"] is False
    assert _told(plane) == [("unreadable", "foggy-cams")]


def test_replicas_that_went_are_told_to_the_operator_and_not_counted(make_plane):
    plane = open_console(make_plane(default_tenant="acme"))
    for id, age_s in (("lives", 20.0), ("went", GONE_AFTER_S + 60), ("long-ago", 3600.0)):
        _report(plane, id, age_s)
    text = read(plane, "/")
    assert "Replica went went: it was last heard 4 min ago" in words(text)
    assert "long-ago" not in text
    assert "replicas 1 " in words(read(plane, "/serving"))
    assert _told(plane, plane.token("admin", tenant="globex")) == []


def test_a_key_of_some_domains_is_told_of_those(plane, evidence):
    for name in ("mine-cams", "other-cams"):
        plane.version(plane.domain(name), evidence["FAILED"])
    with plane.database.write() as state:
        raw = state.domains.get("acme", "other-cams")
        state.domains.save(replace(raw, passthrough="it loses"))
    assert _told(plane, plane.token("domain:read", only=("mine-cams",))) == [("refused", "mine-cams")]
    assert len(_told(plane)) == 3


@pytest.mark.parametrize(
    ("verdict", "badge"),
    [
        ("FAILED", "refused by the gate"),
        ("INCONCLUSIVE", "needs a decision"),
        ("PASSED", "succeeded"),
        ("NOT_NEEDED", "no adapter made"),
    ],
)
def test_a_job_is_green_only_if_something_good_came_of_it(plane, evidence, verdict, badge):
    plane = open_console(plane)
    plane.version(plane.domain(), evidence[verdict])
    pages = [read(plane, path) for path in ("/", "/jobs", "/domains", "/domains/foggy-cams")]
    link = next(part.split('"')[0] for part in pages[1].split('href="/console')[1:] if "/jobs/j-" in part[:60])
    for text in (*pages, read(plane, link)):
        assert f">{badge}</span>" in text
        assert ('class="state succeeded"' in text) == (verdict == "PASSED")
    assert ('class="done beside"' in read(plane, link)) == (verdict in ("PASSED", "NOT_NEEDED"))


def test_the_overview_counts_everything_and_the_list_of_domains_says_who_answers(plane):
    plane = open_console(plane)
    for number in range(50):
        domain = plane.domain(f"raw-{number:02d}")
        with plane.database.write() as state:
            known = state.domains.get("acme", domain.name)
            state.domains.save(replace(known, passthrough="it loses"))
    text = words(read(plane, "/"))
    assert "needs attention 50 " in text
    assert "And 10 more; udair status lists all." in text
    assert 'class="state as_it_came">as it came</span>' in read(plane, "/domains")
    log_in(plane, plane.token("domain:read", only=("raw-01",)))
    assert "needs attention 1 " in words(read(plane, "/"))


def test_the_command_line_says_the_same_and_ends_so(live):
    assert "nothing needs attention" in udair(live, "status")[1]
    domain = live.plane.domain()
    with live.plane.database.write() as state:
        known = state.domains.get("acme", domain.name)
        state.domains.save(replace(known, passthrough="it loses"))
    out, err = udair(live, "status", code=1)
    assert "foggy-cams is served as it came: it loses." in out
    assert "1 to look at" in err
    assert json.loads(udair(live, "status", "-o", "json", code=1)[0])[0]["kind"] == "as it came"
