"""What a job tells of its training: every step counts, few points are kept, and a store that is away costs nothing else."""

from __future__ import annotations

import math

import pytest

from udair_jobs.runtime.curves import CURVES, MOST_POINTS, Curves
from udair_jobs.specs import CurveSet
from udair_jobs.storage import StorageUnavailable, open_storage


@pytest.fixture
def store(tmp_path):
    return open_storage(str(tmp_path))


def written(store) -> dict[str, tuple[list[int], list[float]]]:
    found = CurveSet.model_validate_json(store.get(CURVES))
    return {curve.name: (curve.steps, curve.values) for curve in found.curves}


def test_few_steps_are_kept_as_they_are(store) -> None:
    curves = Curves(store, min_interval_s=0)
    for loss in (0.5, 0.25, math.nan, 0.125):
        curves.add({"loss": loss})
    assert written(store) == {"loss": ([1, 2, 3], [0.5, 0.25, 0.125])}


@pytest.mark.parametrize("steps", [MOST_POINTS - 1, MOST_POINTS, 777, 100_000])
def test_many_steps_become_means_of_several_and_none_is_lost(store, steps: int) -> None:
    curves = Curves(store, min_interval_s=math.inf)
    for step in range(steps):
        curves.add({"loss": float(step)})
    curves.write()
    ends, means = written(store)["loss"]
    assert MOST_POINTS / 2 <= len(ends) <= MOST_POINTS
    assert ends[-1] == steps
    begins = [0, *ends[:-1]]
    expected = [(begin + end - 1) / 2 for begin, end in zip(begins, ends, strict=True)]
    assert means == pytest.approx(expected, rel=1e-5)


def test_they_are_written_now_and_then_and_at_the_end(store) -> None:
    clock = [100.0]
    curves = Curves(store, min_interval_s=5.0, clock=lambda: clock[0])
    curves.add({"loss": 1.0})
    curves.add({"loss": 2.0})
    assert written(store)["loss"][0] == [1]
    clock[0] += 5.0
    curves.add({"loss": 3.0})
    assert written(store)["loss"][0] == [1, 2, 3]
    curves.add({"loss": 4.0})
    curves.write()
    assert written(store)["loss"][0] == [1, 2, 3, 4]


def test_a_store_that_is_away_costs_a_delay(store, monkeypatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StorageUnavailable("store", "away")

    curves = Curves(store, min_interval_s=0)
    with monkeypatch.context() as patched:
        patched.setattr(type(store), "put", away)
        curves.add({"loss": 1.0})
    curves.write()
    assert written(store) == {"loss": ([1], [1.0])}


def test_a_curve_whose_lists_do_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="2 steps have 1 values"):
        CurveSet.model_validate({"curves": [{"name": "loss", "steps": [1, 2], "values": [0.5]}]})
