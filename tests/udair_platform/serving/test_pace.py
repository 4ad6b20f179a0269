"""What a replica says of how busy it is."""

from __future__ import annotations

import pytest

from udair_platform.serving.observation.windows import TrafficWindows


class Traffic(TrafficWindows):
    """With a clock that tests set."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(codes=4, clock=lambda: self.now)

    def answer(self, now: float, latency_s: float) -> None:
        self.now = now
        self.answered("acme/cams", 1, 100, latency_s=latency_s)

    def pace_at(self, now: float) -> dict[str, float | None]:
        self.now = now
        return self.pace()


def test_the_pace_is_of_the_last_minute_and_of_nothing_before() -> None:
    traffic = Traffic()
    assert traffic.pace_at(0.0) == {"images_per_s": 0.0, "p50_s": None, "p99_s": None}
    for second in range(120):
        traffic.answer(float(second), 10.0 if second < 60 else 0.2)
    pace = traffic.pace_at(120.0)
    assert pace["images_per_s"] == pytest.approx(1.0, abs=0.02)
    assert (pace["p50_s"], pace["p99_s"]) == (0.2, 0.2)
    assert traffic.pace_at(500.0)["images_per_s"] == 0.0


def test_a_minute_of_more_images_than_are_kept_is_not_undercounted() -> None:
    traffic = Traffic()
    for number in range(30_000):
        traffic.answer(number / 500, 0.01)
    assert traffic.pace_at(60.0)["images_per_s"] == pytest.approx(500, rel=0.05)
