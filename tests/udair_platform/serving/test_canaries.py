"""What a replica measures of a champion's and a canary's pictures, and of nobody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import numpy as np
import pytest
from data_plane import Plane, make_adapter, until

from udair_platform.services import canaries
from udair_platform.serving.observation import residuals
from udair_platform.serving.observation.residuals import Residuals, measure
from udair_platform.serving.request import PNG16, RestoreRequest


@pytest.fixture
def plane(tmp_path) -> Iterator[Plane]:
    made = Plane(tmp_path, slots=4)
    yield made
    made.backbone.shutdown()


def scene(level: float, noise: float, seed: int = 0) -> np.ndarray:
    """A picture with flat places and edges, (160, 160, 3) uint8."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.uniform(-25, 25, (5, 5, 1)), np.ones((32, 32, 1)))
    return np.clip(level + blocks + rng.normal(0, noise, (160, 160, 3)), 0, 255).round().astype(np.uint8)


def ask(plane: Plane, name: str, count: int, **options) -> None:
    for number in range(count):
        asked = RestoreRequest(f"acme/{name}", f"key-{number}", **options)
        asyncio.run(one(plane, asked, number))


async def one(plane: Plane, asked: RestoreRequest, number: int) -> None:
    await plane.backbone.infer(asked, scene(120, 12, number))
    await asyncio.gather(*plane.backbone._canaries._tasks)


def seen(plane: Plane) -> dict:
    return plane.backbone.reports.report()["domains"]


def share(plane: Plane, name: str, judged: bool = True, **more) -> None:
    canary = (
        plane.entry(f"{name}-next", make_adapter(0.3), 2) | {"percent": 50.0} | ({"judged": True} if judged else {})
    )
    plane.route(name, make_adapter(0.0), 1, canary=canary, **more)


def test_grain_and_light_are_in_grey_levels_and_what_cannot_be_told_is_left_out() -> None:
    clean, noisy = scene(120, 1.0), scene(120, 10.0)
    left = measure(noisy, clean, light_kept=True)
    assert left["came"] == pytest.approx(10, rel=0.2)
    assert left["grain"] < 3  # edges between flat places count, a little
    assert left["light"] < 0.2
    darker = np.clip(clean.astype(int) - 20, 0, 255).astype(np.uint8)
    assert measure(clean, darker, light_kept=True)["light"] == pytest.approx(20, abs=0.5)
    assert "light" not in measure(clean, darker, light_kept=False)
    assert set(measure(clean, np.full_like(clean, 255), light_kept=True)) == {"light"}


def test_a_replica_reports_both_versions_of_a_route_that_wants_it(plane) -> None:
    share(plane, "judged")
    ask(plane, "judged", 12)
    told = seen(plane)["acme/judged"]["residuals"]
    assert (told["champion"], told["canary"], set(told["versions"])) == (1, 2, {"1", "2"})
    counts = {version: figures["grain"][0] for version, figures in told["versions"].items()}
    assert sum(counts.values()) == 12
    assert min(counts.values()) >= 1
    came = {version: sums["came"][1] / sums["came"][0] for version, sums in told["versions"].items()}
    assert all(value == pytest.approx(12, rel=0.25) for value in came.values())
    until(lambda: plane.store.exists(f"serving/reports/{plane.backbone.id}.json"))
    until(lambda: "residuals" in written(plane)["domains"]["acme/judged"])


def written(plane: Plane) -> dict:
    return json.loads(plane.store.get(f"serving/reports/{plane.backbone.id}.json"))


def test_other_routes_are_not_looked_at_and_one_that_ends_is_forgotten(plane) -> None:
    share(plane, "unjudged", judged=False)
    ask(plane, "unjudged", 3)
    ask(plane, "plain", 3)
    assert all("residuals" not in told for told in seen(plane).values())
    share(plane, "judged")
    ask(plane, "judged", 3)
    assert "residuals" in seen(plane)["acme/judged"]
    plane.route("judged", make_adapter(0.0), 1, canary=None)
    ask(plane, "judged", 1)
    assert "residuals" not in seen(plane)["acme/judged"]


def test_answers_of_another_version_or_kind_are_left_out(plane) -> None:
    broken = plane.entry("judged-next", make_adapter(0.2), 2, data=b"no adapter") | {"percent": 100.0, "judged": True}
    plane.route("judged", make_adapter(0.0), 1, canary=broken)
    ask(plane, "judged", 2)  # the canary cannot be loaded: something else answers
    share(plane, "sixteen")
    ask(plane, "sixteen", 2, media_type=PNG16)
    assert all("residuals" not in told for told in seen(plane).values())


def test_a_version_is_looked_at_often_at_first_and_then_now_and_then(monkeypatch) -> None:
    monkeypatch.setattr(residuals, "_FIRST", 2)
    times = [0.0]
    found = Residuals(lambda: times[-1])
    wanted = []
    for moment in (0.0, 0.1, 0.2, 4.9, 5.2, 5.3):
        times.append(moment)
        wanted.append(found.wants("d", (1, 2), 1))
    assert wanted == [True, True, False, False, True, False]
    assert found.wants("d", (1, 2), 2)
    assert not found.wants("d", (1, 2), 7)
    found.add("d", (1, 2), 1, {"grain": 3.0})
    found.add("d", (1, 2), 1, {"grain": 5.0})
    assert found.report()["d"]["versions"]["1"]["grain"] == [2, 8.0, 34.0]
    times.append(5.4)
    assert found.wants("d", (1, 3), 1)
    found.add("d", (1, 2), 1, {"grain": 9.0})  # it was begun before
    assert found.report()["d"] == {"champion": 1, "canary": 3, "began_time": 5.4, "versions": {"1": {}, "3": {}}}


def test_what_a_replica_measured_of_a_harmful_canary_is_enough_to_end_it(plane, monkeypatch) -> None:
    monkeypatch.setattr(canaries, "FEWEST", 8)
    share(plane, "judged")
    alike = plane.entry("alike", make_adapter(0.0), 2) | {"percent": 50.0, "judged": True}
    plane.route("good", make_adapter(0.0), 1, canary=alike)
    for name in ("judged", "good"):
        ask(plane, name, 30)
    judge = canaries.CanaryJudge()
    judge.note("r1", json.loads(json.dumps(seen(plane))))
    (found,) = judge.findings()
    assert (found.name, found.champion, found.canary) == ("acme/judged", 1, 2)
