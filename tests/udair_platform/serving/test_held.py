"""Adapters that a replica has before it is asked for them, and keeps whatever others ask for."""

from __future__ import annotations

import asyncio
import time

import pytest
from data_plane import Plane, make_adapter, make_image, until
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.serving.model.adapters import Adapters
from udair_platform.serving.model.replica import Backbone
from udair_platform.serving.request import RestoreRequest
from udair_platform.serving.routing.order import holders, ordered

REPLICAS = st.lists(st.text("abcdef0123456789", min_size=4, max_size=8), min_size=2, max_size=8, unique=True)
DOMAINS = st.text("abc-/", min_size=1, max_size=8)


@pytest.fixture
def plane(tmp_path):
    made = Plane(tmp_path, slots=4)
    yield made
    made.backbone.shutdown()


def _ask(plane, name: str):
    return asyncio.run(plane.backbone.infer(RestoreRequest(f"acme/{name}", ""), make_image()))


def _misses(plane) -> int:
    return int(plane.backbone._adapters.misses)


def _held(backbone: Backbone, name: str) -> int | None:
    return backbone.describe(f"acme/{name}")["held"]


@given(DOMAINS, REPLICAS, st.data())
def test_a_replica_that_goes_leaves_its_place_to_one_that_held_the_domain_already(domain, replicas, data):
    gone = data.draw(st.sampled_from(replicas))
    left = [one for one in ordered(domain, replicas) if one != gone]
    assert ordered(domain, set(replicas) - {gone}) == left, "nobody else moves"
    min_ready = data.draw(st.integers(1, len(replicas)))
    assert set(left[:min_ready]) <= set(holders(domain, replicas, min_ready))


def test_domains_are_spread_over_the_replicas():
    first = [ordered(f"acme/d-{number}", ["a", "b", "c", "d"])[0] for number in range(400)]
    assert min(first.count(replica) for replica in "abcd") > 60


def test_an_adapter_is_here_before_it_is_asked_for_and_others_do_not_push_it_out(plane):
    plane.route("ready", make_adapter(0.1), min_ready=1)
    until(lambda: _held(plane.backbone, "ready") == 1)
    for number in range(8):
        plane.route(f"other-{number}", make_adapter(0.01 * number))
        assert _ask(plane, f"other-{number}").version == 1
    missed = _misses(plane)
    assert missed == 8
    assert (_ask(plane, "ready").version, _misses(plane)) == (1, missed)


def test_a_replica_is_not_there_before_it_has_what_it_shall_hold(plane, monkeypatch):
    load = Adapters.load
    monkeypatch.setattr(Adapters, "load", lambda self, target: (time.sleep(0.5), load(self, target))[1])
    plane.route("ready", make_adapter(0.1), min_ready=1)
    plane.route("asked", make_adapter(0.2))
    backbone = Backbone(plane.config)
    try:
        assert (_held(backbone, "ready"), _held(backbone, "asked")) == (1, None)
    finally:
        backbone.shutdown()


def test_a_promotion_is_loaded_before_anybody_asks_and_one_that_cannot_be_leaves_the_one_before(plane):
    plane.route("ready", make_adapter(0.1), min_ready=1)
    until(lambda: _held(plane.backbone, "ready") == 1)
    plane.route("ready", make_adapter(0.2), 2, min_ready=1)
    until(lambda: _held(plane.backbone, "ready") == 2)
    plane.route("ready", make_adapter(0.3), 3, data=b"no adapter", min_ready=1)
    until(lambda: plane.backbone.describe("acme/ready")["blocked"])
    answer = _ask(plane, "ready")
    assert (answer.version, answer.fallback) == (2, "previous"), "nobody had asked for 2 yet"


def test_more_than_there_is_room_for_is_said_and_leaves_room_for_the_others(plane):
    for number in range(5):
        plane.route(f"ready-{number}", make_adapter(0.1 * number + 0.1), min_ready=1)

    def told() -> list[str]:
        report = plane.backbone.reports.report()["domains"]
        return [report.get(f"acme/ready-{number}", {}).get("unheld", "") for number in range(5)]

    until(lambda: [bool(why) for why in told()] == [False, False, False, True, True])
    until(lambda: [_held(plane.backbone, f"ready-{number}") for number in range(3)] == [1, 1, 1])
    assert told()[4].startswith("5 adapters shall be held in 4 slots, which hold 3; raise UDAIR_SERVE_SLOTS")
    plane.route("other", make_adapter(0.9))
    assert [_ask(plane, name).version for name in ("ready-4", "other", "ready-0")] == [1, 1, 1]
    assert [_held(plane.backbone, f"ready-{number}") for number in range(3)] == [1, 1, 1]


def test_who_is_none_of_the_first_lets_go_and_takes_over_when_they_are_gone(plane):
    plane.route("ready", make_adapter(0.1), min_ready=1)
    until(lambda: _held(plane.backbone, "ready") == 1)
    me, bank = plane.backbone.id, plane.backbone._adapters.bank
    others = [f"replica-{number}" for number in range(40)]
    before = [one for one in others if ordered("acme/ready", [me, one])[0] == one][:2]
    plane.backbone._held.members_changed(frozenset({*before, me}))
    until(lambda: not bank.pinned)
    for number in range(4):
        plane.route(f"other-{number}", make_adapter(0.01 * number))
        _ask(plane, f"other-{number}")
    assert _held(plane.backbone, "ready") is None
    plane.backbone._held.members_changed(frozenset({before[0], me}))
    until(lambda: _held(plane.backbone, "ready") == 1)
    missed = _misses(plane)
    assert (_ask(plane, "ready").version, _misses(plane)) == (1, missed)
