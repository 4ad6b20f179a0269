"""What a replica says of how busy it is."""

from __future__ import annotations

import pytest

from udair_platform.serving.observation.windows import TrafficWindows


def test_the_pace_is_of_the_last_minute_and_of_nothing_before() -> None:
    traffic = TrafficWindows(codes=4)
    assert traffic.pace(0.0) == {"images_per_s": 0.0, "p50_s": None, "p99_s": None}
    for second in range(120):
        traffic.observe_latency(10.0 if second < 60 else 0.2, float(second))
    pace = traffic.pace(120.0)
    assert pace["images_per_s"] == pytest.approx(1.0, abs=0.02)
    assert (pace["p50_s"], pace["p99_s"]) == (0.2, 0.2)
    assert traffic.pace(500.0)["images_per_s"] == 0.0


def test_a_minute_of_more_images_than_are_kept_is_not_undercounted() -> None:
    traffic = TrafficWindows(codes=4)
    for number in range(30_000):
        traffic.observe_latency(0.01, number / 500)
    assert traffic.pace(60.0)["images_per_s"] == pytest.approx(500, rel=0.05)
