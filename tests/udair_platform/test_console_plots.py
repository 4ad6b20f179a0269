"""Lines that the server draws: what is served over time, on a domain's page."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from console_visitor import open_console, read, words
from hypothesis import given
from hypothesis import strategies as st

from udair_platform.console.plots import HEIGHT, WIDTH, plot
from udair_platform.entities.latency import bucket
from udair_platform.entities.served import Served

NUMBERS = re.compile(r"[ML](-?[\d.]+) (-?[\d.]+)")


@pytest.fixture
def plane(make_plane):
    return open_console(make_plane())


def restored(
    plane, domain, minutes_ago: int, images: int, seconds: float, *, version: int = 1, errors: int = 0
) -> None:
    begin = plane.clock().replace(second=0) - timedelta(minutes=minutes_ago)
    with plane.change() as tx:
        tx.state.served.add(
            [Served(domain.id, domain.tenant, 60, begin, version, images, errors, {bucket(seconds): images})]
        )


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e9, allow_subnormal=False)), min_size=2, max_size=30).filter(
        lambda values: any(value is not None for value in values)
    ),
    st.booleans(),
)
def test_every_value_lies_on_the_plot_between_few_lines(values, from_zero) -> None:
    values = [abs(value) if from_zero and value is not None else value for value in values]
    places = [at / (len(values) - 1) for at in range(len(values))]
    drawn = plot("t", "", {"a": values}, places, ["n"] * len(values), [], from_zero=from_zero)
    points = [(float(x), float(y)) for x, y in NUMBERS.findall(drawn.lines[0].path)]
    assert len(points) == sum(value is not None for value in values)
    assert all(0 <= x <= WIDTH and -0.1 <= y <= HEIGHT + 0.1 for x, y in points)
    assert 2 <= len(drawn.across) <= 6
    assert all(-0.1 <= y <= HEIGHT + 0.1 for y, _ in drawn.across)
    assert len(drawn.columns) == len(values)


def test_where_nothing_is_known_a_line_has_a_gap_and_a_point_alone_is_a_dot() -> None:
    drawn = plot("t", "ms", {"a": [1.0, 2.0, None, 2.0, None]}, [0, 0.25, 0.5, 0.75, 1], list("vwxyz"), [(0.5, "mid")])
    assert drawn.lines[0].path == "M0 75.0L250.0 0.0M750.0 0.0h.1"
    assert drawn.said == "t: a 2 ms last, between 1 ms and 2 ms"
    assert drawn.columns[2] == (375.0, 250.0, "x: –")
    assert drawn.along == [(50, "mid", "middle")]


def test_a_domain_shows_what_it_was_asked_for_over_time(plane) -> None:
    domain = plane.domain()
    assert "Nothing was restored in the last day." in words(read(plane, "/domains/foggy-cams"))
    restored(plane, domain, 5, 0, 0.1, errors=3)
    assert "No picture was restored in the last hour; 3 were refused or failed." in words(
        read(plane, "/domains/foggy-cams?period=hour")
    )
    restored(plane, domain, 10, 30, 0.1)
    restored(plane, domain, 9, 60, 0.1)
    restored(plane, domain, 9, 10, 0.8, version=2)
    restored(plane, domain, 3 * 1440, 500, 0.1)
    page = read(plane, "/domains/foggy-cams?period=hour")
    said = re.findall(r'role="img" aria-label="([^"]*)"', page)
    assert said[0] == "Images a second: 0 last, between 0 and 1.17"
    assert said[1].startswith("Waiting and model time: p50 100 ms last, between 98.7 ms and 100 ms; p95 ")
    assert "100 restored, 3 not in the hour until 11:59 UTC" in words(page)
    assert re.search(r"version 1: 90, p95 \d+ ms, 3 not ?; version 2: 10, p95 \d+ ms\.", words(page))
    assert '<a href="/console/domains/foggy-cams?period=hour#served" aria-current="true">hour</a>' in page
    assert page.count('<th scope="row" class="nowrap">23 Nov 11:5') == 3, "every minute of it stands in the table, too"
    assert "23 Nov 11:51 UTC: p50" in page
    assert "style=" not in page, "the policy lets no style through that stands in a page"
    assert "100 restored" in words(read(plane, "/domains/foggy-cams"))
    assert "600 restored" in words(read(plane, "/domains/foggy-cams?period=week"))
    assert "600 restored" in words(read(plane, "/domains/foggy-cams?period=month"))
    assert plane.client.get("/console/domains/foggy-cams?period=year").status_code == 400
