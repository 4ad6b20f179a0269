"""What a request may wish for beside its picture: how long its caller waits, and whose turn is next."""

from __future__ import annotations

import httpx
import pytest
from data_plane import Plane, answering, bearer, make_image

from udair.data.images import encode_png


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with answering(Plane(tmp_path_factory.mktemp("wishes"))) as made:
        made.route("night", None)
        yield made


def ask(plane, query: str) -> httpx.Response:
    url = f"{plane.url}/v1/domains/night:restore{query}"
    return httpx.post(url, content=encode_png(make_image(1)), headers=bearer(), timeout=60)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?priority=urgent", "priority is 'urgent'; expected normal or low"),
        ("?priority=", "priority is ''; expected normal or low"),
        ("?timeout_s=soon", "timeout_s is 'soon'; expected seconds, more than 0"),
        ("?timeout_s=-1", "timeout_s is '-1'"),
        ("?timeout_s=inf", "timeout_s is 'inf'"),
        ("?timeout_s=nan", "timeout_s is 'nan'"),
    ],
)
def test_a_wish_that_is_none_is_refused(plane, query, said) -> None:
    answer = ask(plane, query)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert said in answer.json()["detail"]


def test_no_work_is_done_for_a_caller_that_waits_no_longer(plane) -> None:
    answer = ask(plane, "?timeout_s=0.000001")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert "its caller less patient" in answer.json()["detail"]
    assert ask(plane, "?timeout_s=600&priority=low").status_code == 200
