"""A canary that surely restores worse than its champion is taken away by itself, and only such a one."""

from __future__ import annotations

import json

import pytest

from udair_platform.entities.event import Event
from udair_platform.services import canaries

ROUTE = "/v1/domains/foggy-cams/route"
TURN_S = 11


@pytest.fixture
def domain(plane):
    """Version 1 serves, version 2 is its canary; both may be promoted."""
    made = plane.domain()
    for _ in range(2):
        plane.version(made)
    plane.client.post("/v1/domains/foggy-cams/versions/1:promote", json={})
    share(plane)
    return made


def share(plane, **other) -> None:
    body = {"canary": {"version": 2, "percent": 10}, "pinned": True, "canary_auto_rollback": True} | other
    assert plane.client.put(ROUTE, json=body).status_code == 200


def sums(images: int, mean: float, deviation: float) -> list[float]:
    return [images, images * mean, images * (mean * mean + deviation * deviation)]


def report(plane, replica: str = "r1", *, images: int = 200, pair=(1, 2), **figures: tuple[float, float]) -> None:
    """A replica's word on its pair: (champion's, canary's) mean of each figure, with a deviation of one level."""
    figures = {"came": (12.0, 12.0), "grain": (7.0, 7.0), "light": (0.2, 0.2)} | figures
    versions = {
        str(version): {name: sums(images, means[at], 1.0) for name, means in figures.items()}
        for at, version in enumerate(pair)
    }
    residuals = {"champion": pair[0], "canary": pair[1], "began_time": plane.clock().timestamp(), "versions": versions}
    document = {
        "replica": replica,
        "time": plane.clock().timestamp(),
        "domains": {"acme/foggy-cams": {"residuals": residuals}},
    }
    plane.store.put(f"serving/reports/{replica}.json", json.dumps(document).encode())


def turn(plane) -> None:
    plane.clock.forward(TURN_S)
    plane.reconciler.tick()


def canary(plane) -> dict | None:
    return plane.client.get(ROUTE).json()["canary"]


def told(plane) -> list[Event]:
    events = plane.client.get("/v1/events?page_size=1000").json()["events"]
    return [event for event in events if event["kind"] == canaries.WORSE]


def test_a_canary_that_leaves_more_grain_is_taken_away_with_the_evidence(plane, domain) -> None:
    began = plane.clock()
    report(plane, grain=(7.0, 9.0))
    turn(plane)
    assert canary(plane) is None
    route = plane.client.get(ROUTE).json()
    assert (route["version"], route["pinned"], route["canary_auto_rollback"]) == (1, True, True)
    (event,) = told(plane)
    assert (event["noun"], event["name"], event["actor"]) == ("route", "foggy-cams", "serving")
    assert event["data"] == {
        "figure": "grain",
        "version": 2,
        "measured": 9.0,
        "images": 200,
        "champion": 1,
        "champion_measured": 7.0,
        "champion_images": 200,
        "bound": 1.0,
        "error": 0.1003,
        "came": 12.0,
        "champion_came": 12.0,
        "from": began.isoformat(timespec="seconds"),
        "until": plane.clock().isoformat(timespec="seconds"),
    }
    plane.reconciler.tick()  # routes.json follows
    entry = json.loads(plane.store.get("serving/routes.json"))
    (shard,) = [part["key"] for part in entry["shards"].values() if part["key"]]
    assert json.loads(plane.store.get(shard))["acme/foggy-cams"]["canary"] is None
    (row,) = [row for row in plane.client.get("/v1/attention").json()["concerns"] if row["kind"] == "canary"]
    assert (
        "canary 2 was taken away. It leaves more grain than version 1: 9.0 of 255 levels (200 pictures)"
        in row["message"]
    )
    turn(plane)
    assert len(told(plane)) == 1


def test_a_canary_that_moves_the_light_is_taken_away_though_no_grain_can_be_told(plane, domain) -> None:
    report(plane, light=(0.2, 9.0), grain=(0.0, 0.0))
    turn(plane)
    assert (canary(plane), told(plane)[0]["data"]["figure"]) == (None, "light")


@pytest.mark.parametrize(
    "figures",
    [{"grain": (7.0, 8.35)}, {"light": (0.2, 3.6)}, {"grain": (7.0, 9.0), "came": (12.0, 12.9)}],  # error is 0.1
)
def test_a_canary_ends_once_it_is_surely_worse_than_the_bound_and_by_no_more(plane, domain, figures) -> None:
    report(plane, **figures)
    turn(plane)
    assert canary(plane) is None
    came = figures.get("came", (12.0, 12.0))
    assert (told(plane)[0]["data"]["champion_came"], told(plane)[0]["data"]["came"]) == came


def test_a_finding_about_a_canary_that_has_ended_changes_nothing(plane, domain) -> None:
    share(plane, canary=None)
    report(plane, grain=(7.0, 20.0))
    turn(plane)
    assert (canary(plane), told(plane)) == (None, [])
    assert plane.client.get("/v1/domains/foggy-cams").is_success


@pytest.mark.parametrize(
    ("images", "figures"),
    [
        (200, {"grain": (7.0, 5.0)}),  # better
        (200, {"grain": (7.0, 8.2)}),  # worse, and not surely by more than the bound
        (49, {"grain": (7.0, 20.0)}),  # too few
        (200, {"grain": (7.0, 9.0), "came": (12.0, 13.1)}),  # other pictures
        (200, {"light": (0.2, 3.4)}),
    ],
)
def test_a_canary_that_is_not_surely_worse_stays(plane, domain, images, figures) -> None:
    report(plane, images=images, **figures)
    turn(plane)
    assert (canary(plane), told(plane)) == ({"version": 2, "percent": 10}, [])


def test_replicas_are_taken_together_and_each_counts_once(plane, domain) -> None:
    for _ in range(3):
        report(plane, "r1", images=25, grain=(7.0, 12.0))
        turn(plane)
    assert canary(plane) is not None
    report(plane, "r2", images=25, grain=(7.0, 12.0))
    turn(plane)
    assert (canary(plane), told(plane)[0]["data"]["images"]) == (None, 50)


def test_a_replica_that_went_is_not_taken_into_account(plane, domain) -> None:
    report(plane, "r1", images=40, grain=(7.0, 12.0))
    turn(plane)
    plane.store.delete("serving/reports/r1.json")
    report(plane, "r2", images=40, grain=(7.0, 12.0))
    turn(plane)
    assert canary(plane) is not None


def test_a_report_that_cannot_be_read_changes_nothing_and_holds_nobody_up(plane, domain) -> None:
    plane.store.put(
        "serving/reports/r0.json",
        json.dumps(
            {
                "replica": "r0",
                "time": plane.clock().timestamp(),
                "domains": {"acme/foggy-cams": {"residuals": {"champion": 1}}},
            }
        ).encode(),
    )
    report(plane, grain=(7.0, 9.0))
    turn(plane)
    assert canary(plane) is None


def test_nobody_who_did_not_ask_for_it_is_rolled_back(plane, domain) -> None:
    share(plane, canary_auto_rollback=False)
    report(plane, grain=(7.0, 20.0))
    turn(plane)
    assert (canary(plane)["version"], told(plane)) == (2, [])


@pytest.mark.parametrize("pair", [(1, 3), (0, 2)])
def test_what_was_seen_of_another_pair_says_nothing(plane, domain, pair) -> None:
    report(plane, pair=pair, grain=(7.0, 20.0))
    turn(plane)
    assert (canary(plane)["version"], told(plane)) == (2, [])


def test_only_a_route_that_wants_it_is_measured(plane, domain) -> None:
    def entry() -> dict:
        document = json.loads(plane.store.get("serving/routes.json"))
        (shard,) = [part["key"] for part in document["shards"].values() if part["key"]]
        return json.loads(plane.store.get(shard))["acme/foggy-cams"]["canary"]

    assert entry()["judged"] is True
    share(plane, canary_auto_rollback=False)
    assert "judged" not in entry()
