"""One bearer may ask so often, and one address may guess so often."""

from __future__ import annotations

import pytest

from udair_platform.api.access.rate_limits import RateLimits
from udair_platform.errors import TooManyRequests


def test_bearer_that_asks_too_often_is_told_to_wait(make_plane) -> None:
    plane = make_plane(rate_limit_per_minute=3)
    replies = [plane.client.get("/v1/domains") for _ in range(4)]

    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    last = replies[-1]
    assert (last.json()["code"], last.json()["retryable"]) == ("TOO_MANY_REQUESTS", True)
    assert last.headers["ratelimit-limit"] == "3"
    assert 0 < int(last.headers["retry-after"]) <= 61
    assert last.json()["retry_after_s"] == int(last.headers["retry-after"])


def test_bearers_do_not_spend_each_others_requests(make_plane) -> None:
    plane = make_plane(rate_limit_per_minute=1)
    other = {"Authorization": f"Bearer {plane.token('domain:read')}"}

    assert plane.client.get("/v1/domains").status_code == 200
    assert plane.client.get("/v1/domains", headers=other).status_code == 200
    assert plane.client.get("/v1/domains", headers=other).status_code == 429


def test_idempotent_request_is_counted_once(make_plane) -> None:
    plane = make_plane(rate_limit_per_minute=10)
    plane.domain()
    reply = plane.client.post("/v1/domains/foggy-cams/jobs", json={}, headers={"Idempotency-Key": "k"})
    assert reply.headers["ratelimit-remaining"] == "9"


def test_no_limit_is_no_header(make_plane) -> None:
    reply = make_plane(rate_limit_per_minute=0).client.get("/v1/domains")
    assert reply.is_success
    assert "ratelimit-limit" not in reply.headers


def test_address_with_bad_keys_is_told_to_wait_and_its_neighbours_good_keys_work(make_plane) -> None:
    plane = make_plane(failed_auth_per_minute=2)
    bad = {"Authorization": "Bearer ak_abcdef.e30.AAAA"}

    assert [plane.client.get("/v1/domains", headers=bad).status_code for _ in range(4)] == [401, 401, 429, 429]
    assert int(plane.client.get("/v1/domains", headers=bad).headers["retry-after"]) > 0
    assert plane.client.get("/v1/domains").is_success
    assert plane.client.get("/healthz", headers=bad).is_success


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "testclient", False),
    ],
)
def test_addresses_of_one_machine_are_one(one: str, other: str, same: bool) -> None:
    limits = RateLimits(0, 1)
    limits.refused(one)
    if same:
        with pytest.raises(TooManyRequests):
            limits.refused(other)
    else:
        limits.refused(other)
