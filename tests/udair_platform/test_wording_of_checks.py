"""A limit is drawn on the side on which the gate judges it, for every check of every version of the evidence."""

import math
from dataclasses import fields

import pytest

from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair_platform.console.wording import bar


def _evidence(value: float, **changed) -> Evidence:
    measured = {item.name: value for item in fields(Evidence) if item.type == "float"}
    counts = {"target_images": round(value), "gate_images": 20, "finite": True, "identity": False}
    return Evidence(**measured | counts | changed)


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_is_drawn_where_the_gate_judges_it(version):
    flags = {"version": version, "retones": True, "denoises": True}
    high, low = (judge(_evidence(value, **flags), GatePolicy()).checks for value in (10_000.0, -10_000.0))
    drawn = 0
    for above, below in zip(high, low, strict=True):
        if above.limit is None or not above.judged:
            continue
        assert above.passed != below.passed, above.name
        assert bar({"name": above.name, "measured": 1.0, "limit": above.limit})["bound"] == (
            "at least" if above.passed else "at most"
        )
        drawn += math.isfinite(above.limit)
    assert drawn >= 6
