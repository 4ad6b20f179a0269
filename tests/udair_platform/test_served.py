"""What was served over time: minutes of replicas that count once, whatever their clocks say, and hours of what is old."""

from __future__ import annotations

import json
import random

import pytest
from command_line import udair
from sqlalchemy import func, select

from udair_platform.client import InvalidRequest
from udair_platform.documents import store_paths
from udair_platform.entities.latency import bucket, quantile_s, together
from udair_platform.services.observed import ReplicaReports
from udair_platform.serving.observation.minutes import KEPT, MOST_ROWS, ServedMinutes
from udair_platform.state.tables import REPORTS_TAKEN, SERVED

NAME = "foggy-cams"
URL = f"/v1/domains/{NAME}/metrics"


class Replica:
    """Restores as told, and reports as a replica does."""

    def __init__(self, plane, id: str, ahead_s: float = 0.0) -> None:
        self.plane, self.id, self.ahead_s = plane, id, ahead_s
        self.minutes = ServedMinutes(lambda: self.now)

    @property
    def now(self) -> float:
        return self.plane.clock().timestamp() + self.ahead_s

    def restore(self, seconds: float = 0.1, *, times: int = 1, version: int = 1, name: str = f"acme/{NAME}") -> None:
        for _ in range(times):
            self.minutes.restored(name, version, seconds)

    def report(self, *, ended: bool = False) -> None:
        told = {"replica": self.id, "time": self.now, "domains": {}, "ended": ended}
        told["minutes"] = self.minutes.report(last=ended)
        self.plane.store.put(store_paths.report(self.id), json.dumps(told).encode())


def metrics(plane, period: str = "hour") -> dict:
    answer = plane.client.get(URL, params={"period": period})
    assert answer.status_code == 200, answer.text
    return answer.json()


def at(found: dict) -> dict[str, int]:
    """Images by the minute, where there are any."""
    return {one["begin_time"][11:16]: one["images"] for one in found["points"] if one["images"]}


def turn(plane, seconds: float = 60.0) -> None:
    """Time goes by, and the reconciler looks."""
    plane.clock.forward(seconds)
    plane.reconciler.tick()


def test_a_quantile_of_what_was_added_up_is_true_to_a_tenth() -> None:
    chance = random.Random(7)
    parts = [[chance.lognormvariate(-2.0, 1.0) for _ in range(2000)] for _ in range(3)]
    counts = []
    for part in parts:
        one: dict[str, int] = {}
        for seconds in part:
            one[bucket(seconds)] = one.get(bucket(seconds), 0) + 1
        counts.append(one)
    whole = sorted(seconds for part in parts for seconds in part)
    for share in (0.5, 0.95, 0.99):
        assert quantile_s(together(counts), share) == pytest.approx(whole[int(share * len(whole))], rel=0.1)
    assert quantile_s({}, 0.5) is None
    assert [bucket(seconds) for seconds in (0.0, 0.001, 0.0011, 1e9)] == ["0", "0", "1", "69"]


class Clocked(ServedMinutes):
    """With the time said at each call."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(lambda: self.now)

    def at(self, now: float) -> Clocked:
        self.now = now
        return self


def test_a_minute_is_reported_when_it_is_over_and_does_not_change_any_more() -> None:
    minutes = Clocked()
    minutes.at(60.0).restored("acme/a", 1, 0.2)
    minutes.at(119.0).failed("acme/a", 1)
    assert minutes.at(119.9).report() == []
    (told,) = minutes.at(120.0).report()
    assert (told["number"], told["begin_time"]) == (1, 60)
    assert told["served"] == [
        {"name": "acme/a", "version": 1, "images": 1, "errors": 1, "latency": {bucket(0.2): 1}},
    ]
    minutes.at(30.0).restored("acme/a", 2, 0.2)  # the clock was put back
    minutes.at(61.0).restored("acme/a", 2, 0.2)
    assert [(one["number"], one["begin_time"]) for one in minutes.at(200.0).report()] == [(1, 60), (2, 0), (3, 60)]
    assert minutes.report()[0] == told


def test_a_replica_remembers_a_bounded_number_of_minutes() -> None:
    minutes = Clocked()
    for minute in range(3 * KEPT):
        minutes.at(60.0 * minute).restored("acme/a", 1, 0.2)
    assert [one["number"] for one in minutes.at(1e6).report()] == list(range(2 * KEPT + 1, 3 * KEPT + 1))
    for minute in range(5):
        for domain in range(MOST_ROWS // 3):
            minutes.at(2e6 + 60.0 * minute).restored(f"acme/d{domain}", 1, 0.2)
    told = minutes.at(3e6).report()
    assert len(told) == 3
    assert sum(len(one["served"]) for one in told) <= MOST_ROWS


def test_replicas_add_up_and_what_is_reported_again_counts_once(plane) -> None:
    plane.domain(NAME)
    one, two = Replica(plane, "one"), Replica(plane, "two")
    one.restore(0.1, times=3)
    two.restore(0.4)
    two.restore(0.4, version=2)
    two.restore(name="globex/other")
    two.restore(name="acme/gone")
    plane.clock.forward(61)
    for _ in range(3):
        one.report()
        two.report()
        turn(plane, 11)
    one.restore(times=2)
    turn(plane)
    for replica in (one, two):
        replica.report()  # the first minute once more, and a new one
    plane.reconciler.release()
    plane.restarted().tick()  # another, that has read none of it
    plane.clock.forward(120)
    found = metrics(plane)
    assert at(found) == {"12:00": 5, "12:01": 2}
    assert (found["step_s"], len(found["points"]), found["total"]["images"]) == (60, 60, 7)
    assert [(version["version"], version["images"]) for version in found["versions"]] == [(1, 6), (2, 1)]
    assert found["total"]["p50_s"] == pytest.approx(0.1, rel=0.1)
    assert found["total"]["p99_s"] == pytest.approx(0.4, rel=0.1)
    first = next(point for point in found["points"] if point["images"] == 5)
    assert first["images_per_s"] == pytest.approx(5 / 60, abs=1e-3)
    with plane.database.read() as state:
        assert state.served._connection.scalar(select(func.count()).select_from(SERVED)) == 3


def test_clocks_that_are_wrong_write_neither_the_future_nor_the_past(plane) -> None:
    plane.domain(NAME)
    plane.reconciler.tick()
    replicas = [Replica(plane, "ahead", 7 * 60), Replica(plane, "behind", -7 * 60), Replica(plane, "right")]
    for replica in replicas:
        replica.report()
    turn(plane, 0)
    plane.clock.forward(600)
    plane.reconciler.tick()
    for replica in replicas:
        replica.restore()  # at 12:10
    turn(plane, 59)
    plane.clock.forward(2)
    for replica in replicas:
        replica.report()
    turn(plane, 9)
    plane.clock.forward(600)
    assert set(at(metrics(plane))) <= {"12:09", "12:10"}
    assert metrics(plane)["total"]["images"] == 3
    assert at(metrics(plane))["12:10"] >= 2


def test_a_clock_that_was_put_right_leaves_no_minute_in_the_future(plane) -> None:
    plane.domain(NAME)
    replica = Replica(plane, "one", 20 * 60)
    replica.restore()
    replica.ahead_s = 0.0
    plane.clock.forward(61)
    replica.report()
    turn(plane)
    plane.clock.forward(60)
    assert at(metrics(plane)) == {"12:01": 1}


def test_a_replica_that_ends_hands_over_its_last_minute_and_is_not_missed(plane) -> None:
    plane.domain(NAME)
    replica = Replica(plane, "ends")
    replica.restore(times=4)
    replica.report(ended=True)
    plane.clock.forward(300)
    assert ReplicaReports(plane.store, plane.clock()).gone("acme") == [], "nobody has read it yet; it is not missed"
    turn(plane, 11)
    assert not plane.store.exists(store_paths.report("ends"))
    plane.clock.forward(300)
    assert metrics(plane)["total"]["images"] == 4


def test_minutes_become_hours_after_two_days_and_are_forgotten_after_weeks(make_plane) -> None:
    plane = make_plane(served_weeks=2)
    plane.domain(NAME)
    replica = Replica(plane, "one")
    for _ in range(90):
        replica.restore(0.2)
        turn(plane)
        replica.report()
        plane.reconciler.tick()
    turn(plane)

    def kept() -> dict[int, int]:
        with plane.database.read() as state:
            counted = select(SERVED.c.span_s, func.count()).group_by(SERVED.c.span_s)
            return dict(state.served._connection.execute(counted).tuples().all())

    assert kept() == {60: 90}
    before = metrics(plane, "week")["total"]
    assert before["images"] == 90
    turn(plane, 2 * 86400 - 1800)
    assert kept() == {60: 30, 3600: 1}, "the hour that is two days old is one row, the next is not yet"
    turn(plane, 3600)
    assert kept() == {3600: 2}
    assert metrics(plane, "week")["total"] == before
    assert {one["images"] for one in metrics(plane, "week")["points"]} == {0, 90}
    turn(plane, 15 * 86400)
    assert kept() == {}
    with plane.database.read() as state:
        assert state.served._connection.scalar(select(func.count()).select_from(REPORTS_TAKEN)) == 0


def test_periods_are_hour_day_week_and_month_and_nothing_else(plane) -> None:
    plane.domain(NAME)
    plane.clock.forward(150)
    lengths = {period: len(metrics(plane, period)["points"]) for period in ("hour", "day", "week", "month")}
    assert lengths == {"hour": 60, "day": 97, "week": 85, "month": 85}
    assert metrics(plane)["to_time"] == "2026-11-23T12:01:00Z", "the last minute may not be reported yet"
    answer = plane.client.get(URL, params={"period": "year"})
    assert answer.status_code == 400
    assert "week" in answer.text


@pytest.mark.parametrize("minutes", ["nonsense", [{"number": 1}], [{"number": 1, "begin_time": 0, "served": [{}]}]])
def test_a_report_whose_minutes_are_damaged_is_passed_over(plane, minutes) -> None:
    plane.domain(NAME)
    told = {"replica": "r", "time": plane.clock().timestamp(), "domains": {}, "minutes": minutes}
    plane.store.put(store_paths.report("r"), json.dumps(told).encode())
    good = Replica(plane, "s")
    good.restore()
    plane.clock.forward(61)
    good.report()
    turn(plane)
    plane.clock.forward(60)
    assert metrics(plane)["total"]["images"] == 1


def test_the_sdk_and_the_command_line_say_it(live) -> None:
    live.plane.domain(NAME)
    replica = Replica(live.plane, "one")
    assert "nothing of foggy-cams was restored in the last day" in udair(live, "domain", "metrics", NAME)[1]
    replica.ahead_s = -300.0
    replica.restore(0.2, times=6)
    replica.report(ended=True)
    with live.client() as client:
        domain = client.domains.get(NAME)
        while not domain.metrics("hour").total.images:
            live.plane.clock.forward(1)
        assert domain.metrics().total.images == 6
        with pytest.raises(InvalidRequest, match="period"):
            domain.metrics("year")
    out, _ = udair(live, "domain", "metrics", NAME, "--period", "hour")
    assert out.split()[:7] == ["BEGIN", "IMAGES", "IMAGES_PER_S", "ERRORS", "P50_MS", "P95_MS", "P99_MS"]
    assert " 6 " in out
    out, _ = udair(live, "domain", "metrics", NAME, "-o", "json")
    assert json.loads(out)["total"]["images"] == 6
    udair(live, "domain", "metrics", NAME, "--period", "year", code=1)
