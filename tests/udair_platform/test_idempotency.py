"""The same POST twice has one effect and one reply."""

from __future__ import annotations

import pytest

from udair_platform.api.middleware import idempotency

DOMAIN = {"name": "foggy-cams", "source_uri": "s3://acme-photos/cams"}
KEY = {"Idempotency-Key": "2026-11-23"}
JOBS = "/v1/domains/foggy-cams/jobs"


def jobs(plane) -> list[str]:
    return [job["id"] for job in plane.client.get(JOBS).json()["jobs"]]


def test_repeated_request_gets_the_first_reply(plane) -> None:
    plane.domain()
    first = plane.client.post(JOBS, json={}, headers=KEY)
    again = plane.client.post(JOBS, json={}, headers=KEY)

    assert first.json() == again.json()
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert len(jobs(plane)) == 1


def test_without_a_key_two_requests_are_two_jobs(plane) -> None:
    plane.domain()
    for _ in range(2):
        plane.client.post(JOBS, json={})
    assert len(jobs(plane)) == 2


def test_key_with_another_body_or_route_is_refused(plane) -> None:
    plane.domain()
    plane.client.post(JOBS, json={}, headers=KEY)

    for reply in (
        plane.client.post(JOBS, json={"recipe": {"steps": 1}}, headers=KEY),
        plane.client.post("/v1/domains", json=DOMAIN, headers=KEY),
    ):
        assert (reply.status_code, reply.json()["code"]) == (422, "IDEMPOTENCY_MISMATCH")


def test_keys_of_different_bearers_do_not_meet(plane) -> None:
    plane.domain()
    plane.client.post(JOBS, json={}, headers=KEY)
    other = {"Authorization": f"Bearer {plane.token('job:run')}"}

    assert plane.client.post(JOBS, json={}, headers={**KEY, **other}).status_code == 202
    assert len(jobs(plane)) == 2


def test_request_that_is_being_served_is_not_served_twice(plane) -> None:
    plane.domain()
    begin, seen = idempotency._begin, []

    def begin_and_ask_again(context, principal, key, fingerprint):
        reply = begin(context, principal, key, fingerprint)
        if not seen:
            seen.append(None)
            seen.append(plane.client.post(JOBS, json={}, headers=KEY))
        return reply

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(idempotency, "_begin", begin_and_ask_again)
        assert plane.client.post(JOBS, json={}, headers=KEY).status_code == 202

    assert (seen[1].status_code, seen[1].json()["code"]) == (409, "REQUEST_IN_PROGRESS")
    assert len(jobs(plane)) == 1


def test_crash_between_effect_and_reply_does_not_repeat_the_effect(plane) -> None:
    plane.domain()
    with pytest.MonkeyPatch.context() as crash:
        crash.setattr(idempotency, "_finish", lambda *_: (_ for _ in ()).throw(SystemError("killed")))
        assert plane.client.post(JOBS, json={}, headers=KEY).status_code == 500
    assert plane.client.post(JOBS, json={}, headers=KEY).json()["code"] == "REQUEST_IN_PROGRESS"

    plane.clock.forward(61)
    again = plane.client.post(JOBS, json={}, headers=KEY)

    assert again.status_code == 202
    assert jobs(plane) == [again.json()["id"]]


def test_crash_while_a_domain_is_made_does_not_lock_its_maker_out(plane) -> None:
    with pytest.MonkeyPatch.context() as crash:
        crash.setattr(idempotency, "_finish", lambda *_: (_ for _ in ()).throw(SystemError("killed")))
        plane.client.post("/v1/domains", json=DOMAIN, headers=KEY)
    plane.clock.forward(61)

    assert plane.client.post("/v1/domains", json=DOMAIN, headers=KEY).status_code == 201


def test_refusal_is_not_remembered(plane) -> None:
    assert plane.client.post(JOBS, json={}, headers=KEY).status_code == 404
    plane.domain()
    assert plane.client.post(JOBS, json={}, headers=KEY).status_code == 202


def test_reply_is_forgotten_after_a_day(plane) -> None:
    plane.domain()
    plane.client.post(JOBS, json={}, headers=KEY)
    plane.clock.forward(86_401)
    plane.reconciler.tick()

    with plane.database.read() as state:
        kid = state.keys.page("acme")[0].kid
        assert state.replies.find("acme", kid, KEY["Idempotency-Key"]) is None


def test_repeated_key_creation_shows_the_same_key_and_stores_none(plane) -> None:
    body = {"name": "ci", "scopes": ["job:run"]}
    first = plane.client.post("/v1/apiKeys", json=body, headers=KEY).json()
    again = plane.client.post("/v1/apiKeys", json=body, headers=KEY).json()

    assert first["token"] == again["token"]
    other = plane.client.post("/v1/apiKeys", json={**body, "scopes": ["admin"]}, headers=KEY)
    assert other.json()["code"] == "ALREADY_EXISTS"


@pytest.mark.parametrize("key", ["", "x" * 256, "with blank", "tab\there"])
def test_key_that_is_no_key_is_refused(plane, key: str) -> None:
    plane.domain()
    reply = plane.client.post(JOBS, json={}, headers={"Idempotency-Key": key})
    assert (reply.status_code, reply.json()["code"]) == (400, "BAD_REQUEST")
