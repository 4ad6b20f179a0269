"""The control API: what each route does, refuses and says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from udair_platform.errors import StateUnavailable
from udair_platform.keys import LEEWAY_S

DOMAIN = {"name": "foggy-cams", "source_uri": "s3://acme-photos/cams"}
D = "/v1/domains/foggy-cams"


def problem(reply, status: int, code: str) -> dict:
    body = reply.json()
    assert (reply.status_code, body.get("code")) == (status, code), body
    assert reply.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == reply.headers["x-request-id"]
    assert body["status"] == status
    assert body["title"]
    return body


# --- domains


def test_domain_is_created_shown_listed_and_deleted(plane) -> None:
    created = plane.client.post("/v1/domains", json={**DOMAIN, "gate": {"policy": "strict"}})

    assert created.status_code == 201
    assert created.headers["location"] == D
    shown = plane.client.get(D).json()
    assert shown == created.json()
    assert (shown["champion"], shown["gate"]["policy"], shown["state"]) == (0, "strict", "ACTIVE")
    assert [d["name"] for d in plane.client.get("/v1/domains").json()["domains"]] == ["foggy-cams"]
    assert plane.client.delete(D).status_code == 204
    problem(plane.client.get(D), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": "Bad Name"}, "/name"),
        ({"name": "../../etc"}, "/name"),
        ({"name": 7}, "/name"),
        ({"source_uri": "http://169.254.169.254/"}, "/source_uri"),
        ({"source_uri": "file:///etc"}, "/source_uri"),
        ({"source_uri": "javascript:alert(1)"}, "/source_uri"),
        ({"surprise": 1}, "/surprise"),
        ({"gate": {"policy": "lenient"}}, "/gate/policy"),
        ({"gate": {"limits": {"max_magic": 1}}}, "/gate/limits/max_magic"),
        ({"gate": {"limits": {"max_drift": "much"}}}, "/gate/limits/max_drift"),
    ],
)
def test_wrong_field_is_pointed_at(plane, change: dict, pointer: str) -> None:
    body = problem(plane.client.post("/v1/domains", json={**DOMAIN, **change}), 422, "VALIDATION_FAILED")

    assert [item["pointer"] for item in body["errors"]] == [pointer]


def test_name_can_be_used_once(plane) -> None:
    plane.domain()
    problem(plane.client.post("/v1/domains", json=DOMAIN), 409, "ALREADY_EXISTS")


def test_local_sources_are_accepted_where_the_operator_says_so(make_plane) -> None:
    plane = make_plane(allow_local_sources=True)

    assert plane.client.post("/v1/domains", json={**DOMAIN, "source_uri": "file:///photos"}).is_success


def test_gate_rules_are_merged_and_a_null_limit_falls_back(plane) -> None:
    plane.domain(limits={"max_drift": 0.5, "min_images": 4})

    reply = plane.client.patch(D, json={"gate": {"limits": {"max_drift": None, "max_clipped_share": 0.1}}})

    assert reply.json()["gate"] == {
        "policy": "standard",
        "limits": {"min_images": 4, "max_clipped_share": 0.1},
        "allow_inconclusive": False,
        "four_eyes": False,
    }
    assert plane.client.get("/v1/events", params={"domain": "foggy-cams"}).json()["events"][-1]["kind"] == (
        "domain.changed"
    )


def test_change_based_on_an_old_state_is_refused(plane) -> None:
    plane.domain()
    etag = plane.client.get(D).headers["etag"]
    assert plane.client.patch(D, json={"description": "a"}, headers={"If-Match": etag}).is_success

    reply = plane.client.patch(D, json={"description": "b"}, headers={"If-Match": etag})
    problem(reply, 412, "ETAG_MISMATCH")
    problem(plane.client.delete(D, headers={"If-Match": etag}), 412, "ETAG_MISMATCH")


def test_domain_with_a_running_job_is_not_deleted(plane) -> None:
    plane.submit(plane.domain())

    assert "Cancel them first" in problem(plane.client.delete(D), 409, "INVALID_STATE")["detail"]


# --- jobs


def test_job_is_accepted_and_becomes_a_version(plane) -> None:
    plane.domain()
    reply = plane.client.post(f"{D}/jobs", json={"recipe": {"steps": 7}})
    job = reply.json()

    assert reply.status_code == 202
    assert reply.headers["location"] == f"{D}/jobs/{job['id']}"
    assert (job["state"], job["recipe"], job["attempt"]) == ("QUEUED", {"steps": 7}, 0)
    plane.settle(job["id"])
    job = plane.client.get(f"{D}/jobs/{job['id']}").json()
    assert (job["state"], job["done"], job["version"]) == ("SUCCEEDED", True, 1)
    assert [a["state"] for a in job["attempts"]] == ["SUCCEEDED"]
    assert plane.client.get(f"{D}/jobs/{job['id']}/logs").text == f"log of {job['id']}-1\n"
    kinds = [e["kind"] for e in plane.client.get(f"{D}/jobs/{job['id']}/events").json()["events"]]
    assert kinds == ["job.QUEUED", "job.PROVISIONING", "job.RUNNING", "job.SUCCEEDED"]
    snapshot = plane.client.get(f"{D}/snapshots").json()["snapshots"][0]
    assert (snapshot["id"], snapshot["state"]) == (job["snapshot_id"], "ACTIVE")
    assert plane.client.get(f"{D}/snapshots/{snapshot['id']}").json()["summary"]["images"] == 40


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"recipe": {"steps": -1}}, "/recipe/steps"),
        ({"recipe": {"steps": 10**9}}, "/recipe/steps"),
        ({"recipe": {"_target_": "os.system"}}, "/recipe/_target_"),
        ({"snapshot": "s" * 100}, "/snapshot"),
        ({"entrypoint": "rm -rf /"}, "/entrypoint"),
    ],
)
def test_wrong_recipe_is_pointed_at(plane, body: dict, pointer: str) -> None:
    plane.domain()
    reply = problem(plane.client.post(f"{D}/jobs", json=body), 422, "VALIDATION_FAILED")
    assert [item["pointer"] for item in reply["errors"]] == [pointer]


def test_snapshot_that_cannot_be_used_is_refused(plane) -> None:
    plane.submit(plane.domain())
    scanning = plane.client.get(f"{D}/snapshots").json()["snapshots"][0]["id"]

    problem(plane.client.post(f"{D}/jobs", json={"snapshot": "s-none"}), 404, "NOT_FOUND")
    problem(plane.client.post(f"{D}/jobs", json={"snapshot": "latest"}), 404, "NOT_FOUND")
    problem(plane.client.post(f"{D}/jobs", json={"snapshot": scanning}), 409, "INVALID_STATE")


def test_job_of_another_domain_is_not_found_under_this_one(plane) -> None:
    plane.domain()
    job = plane.submit(plane.domain("rainy-cams"))

    problem(plane.client.get(f"{D}/jobs/{job.id}"), 404, "NOT_FOUND")
    assert plane.client.get(f"/v1/domains/-/jobs/{job.id}").json()["domain"] == "rainy-cams"


def test_log_and_attempt_that_are_not_there(plane) -> None:
    job = plane.submit(plane.domain())

    assert plane.client.get(f"{D}/jobs/{job.id}/logs").text == ""
    problem(plane.client.get(f"{D}/jobs/{job.id}/logs", params={"attempt": 9}), 404, "NOT_FOUND")
    problem(plane.client.get(f"{D}/jobs/{job.id}/logs", params={"attempt": "x"}), 400, "BAD_REQUEST")


# --- versions and aliases


def test_version_shows_verdict_checks_and_evidence(plane) -> None:
    plane.version(plane.domain())

    version = plane.client.get(f"{D}/versions/1").json()
    gate = plane.client.get(f"{D}/versions/@candidate/gate").json()

    assert (version["state"], version["verdict"], version["aliases"]) == ("ACTIVE", "PASSED", ["candidate"])
    assert gate["verdict"] == "PASSED"
    gain = next(check for check in gate["checks"] if check["name"] == "matched gain")
    assert (gain["measured"], gain["limit"], gain["passed"]) == (1.2, 0.5, True)
    assert gate["evidence"]["target_images"] == 40
    problem(plane.client.get(f"{D}/versions/0"), 404, "NOT_FOUND")
    problem(plane.client.get(f"{D}/versions/@nobody"), 404, "NOT_FOUND")


def test_promotion_rollback_and_history(plane) -> None:
    plane.version(plane.domain())

    promoted = plane.client.post(f"{D}/versions/1:promote", json={"reason": "looks right"})
    assert promoted.json()["version"] == 1
    assert plane.client.get(D).json()["aliases"] == {"champion": 1, "previous": 0, "candidate": 1}
    assert plane.client.post(f"{D}:rollback").json()["version"] == 0
    changes = plane.client.get(f"{D}/aliases/champion/history").json()["changes"]
    assert [(c["from_version"], c["to_version"], c["reason"]) for c in changes] == [
        (1, 0, "rollback"),
        (0, 1, "looks right"),
        (None, 0, "domain created"),
    ]
    assert changes[0]["actor"].startswith("key:")
    assert {a["name"] for a in plane.client.get(f"{D}/aliases").json()["aliases"]} == {
        "champion",
        "previous",
        "candidate",
    }


def test_rejected_version_is_not_promoted_by_any_route(plane, evidence) -> None:
    plane.version(plane.domain(), evidence["FAILED"])

    problem(plane.client.post(f"{D}/versions/1:promote"), 409, "GATE_REJECTED")
    problem(plane.client.put(f"{D}/aliases/champion", json={"version": 1}), 409, "GATE_REJECTED")
    assert plane.client.get(f"{D}/aliases/champion").json()["version"] == 0


def test_alias_moves_by_compare_and_set(plane) -> None:
    plane.version(plane.domain())

    problem(plane.client.put(f"{D}/aliases/champion", json={"version": 1, "if_current": 5}), 409, "ALIAS_MOVED")
    problem(plane.client.post(f"{D}:rollback", json={"if_current": 5}), 409, "INVALID_STATE")
    assert plane.client.put(f"{D}/aliases/champion", json={"version": 1, "if_current": 0}).is_success
    problem(plane.client.post(f"{D}:rollback", json={"if_current": 0}), 409, "ALIAS_MOVED")
    problem(plane.client.put(f"{D}/aliases/previous", json={"version": 1}), 422, "VALIDATION_FAILED")
    problem(plane.client.put(f"{D}/aliases/mine", json={"version": -1}), 422, "VALIDATION_FAILED")
    problem(plane.client.put(f"{D}/aliases/mine", json={"version": 9}), 404, "NOT_FOUND")


# --- keys


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "UNAUTHENTICATED"),
        ("Basic dXNlcjpwYXNz", "UNAUTHENTICATED"),
        ("Bearer nonsense", "KEY_INVALID"),
        ("Bearer ak_abcd.e30.AAAA", "KEY_INVALID"),
    ],
)
def test_unusable_key_is_refused(plane, header: str, code: str) -> None:
    problem(plane.client.get("/v1/domains", headers={"Authorization": header}), 401, code)


def test_expired_revoked_and_unknown_keys_are_refused(plane) -> None:
    def ask(token: str):
        return plane.client.get("/v1/domains", headers={"Authorization": f"Bearer {token}"})

    short = plane.token("domain:read", expires=plane.clock() + timedelta(minutes=5))
    assert ask(short).is_success
    plane.clock.forward(300 + LEEWAY_S)
    problem(ask(short), 401, "KEY_EXPIRED")

    created = plane.client.post("/v1/apiKeys", json={"name": "x", "scopes": ["domain:read"]}).json()
    assert ask(created["token"]).is_success
    assert plane.client.post(f"/v1/apiKeys/{created['kid']}:revoke").json()["revoked_time"]
    assert plane.client.post(f"/v1/apiKeys/{created['kid']}:revoke").is_success
    problem(ask(created["token"]), 401, "KEY_REVOKED")

    from udair_platform.keys import Claims, issue

    problem(ask(issue(plane.signing_key, Claims("abcdef", "acme", ("admin",)))), 401, "KEY_INVALID")


@pytest.mark.parametrize(
    ("scope", "method", "path", "allowed"),
    [
        ("domain:read", "GET", "/v1/domains", True),
        ("domain:read", "POST", "/v1/domains", False),
        ("job:run", "POST", f"{D}/jobs", True),
        ("domain:write", "POST", f"{D}/jobs", False),
        ("version:approve", "POST", f"{D}/versions/0:promote", True),
        ("job:run", "POST", f"{D}/versions/0:promote", False),
        ("domain:write", "POST", f"{D}:rollback", False),
        ("domain:write", "PUT", f"{D}/aliases/champion", False),
        ("restore:invoke", "GET", "/v1/domains", False),
        ("domain:write", "GET", "/v1/apiKeys", False),
        ("version:approve", "GET", "/v1/events", False),
        ("restore:invoke", "GET", "/v1/platform", True),
    ],
)
def test_scopes(plane, scope: str, method: str, path: str, allowed: bool) -> None:
    plane.domain()
    reply = plane.client.request(method, path, json={}, headers={"Authorization": f"Bearer {plane.token(scope)}"})
    if allowed:
        assert reply.is_success, reply.text
    else:
        assert scope in problem(reply, 403, "FORBIDDEN")["detail"]


def test_key_of_one_domain_reaches_no_other(plane) -> None:
    plane.domain()
    other = plane.submit(plane.domain("rainy-cams"))
    auth = {"Authorization": f"Bearer {plane.token('admin', only=('foggy-cams',))}"}

    def get(path: str):
        return plane.client.get(path, headers=auth)

    assert [d["name"] for d in get("/v1/domains").json()["domains"]] == ["foggy-cams"]
    assert get("/v1/domains/-/jobs").json()["jobs"] == []
    for path in (
        "/v1/domains/rainy-cams",
        f"/v1/domains/-/jobs/{other.id}",
        "/v1/domains/rainy-cams/versions",
    ):
        problem(get(path), 404, "NOT_FOUND")
    reply = plane.client.post("/v1/domains", json={**DOMAIN, "name": "dusty-cams"}, headers=auth)
    problem(reply, 403, "FORBIDDEN")


def test_key_is_shown_once_and_stored_never(plane) -> None:
    created = plane.client.post("/v1/apiKeys", json={"name": "ci", "scopes": ["job:run"]})
    token = created.json()["token"]

    assert created.status_code == 201
    assert token not in plane.client.get("/v1/apiKeys").text
    database = plane.settings.home.joinpath("control.db")
    stored = b"".join(path.read_bytes() for path in database.parent.glob("control.db*"))
    assert token.split(".")[2].encode() not in stored


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"expires_time": "2020-01-01T00:00:00Z"}, "/expires_time"),
        ({"expires_time": "2020-01-01T00:00:00"}, "/expires_time"),
        ({"name": ""}, "/name"),
    ],
)
def test_wrong_key_request_is_pointed_at(plane, change: dict, pointer: str) -> None:
    body = {"name": "x", "scopes": ["job:run"], **change}
    reply = problem(plane.client.post("/v1/apiKeys", json=body), 422, "VALIDATION_FAILED")
    assert reply["errors"][0]["pointer"] == pointer


# --- the edge


def test_health_needs_no_key_and_ready_needs_its_parts(plane, monkeypatch) -> None:
    assert plane.client.get("/healthz", headers={"Authorization": ""}).json() == {"status": "ok"}
    assert plane.client.get("/readyz", headers={"Authorization": ""}).json() == {"status": "ok"}

    def away() -> None:
        raise StateUnavailable("The database does not answer.")

    monkeypatch.setattr(plane.database, "ping", away)
    reply = plane.client.get("/readyz")
    assert problem(reply, 503, "STATE_UNAVAILABLE")["retryable"]
    assert reply.headers["retry-after"]
    assert plane.client.get("/healthz").is_success


def test_request_id_is_kept_or_made(plane) -> None:
    kept = plane.client.get("/healthz", headers={"X-Request-Id": "abc-123"})
    made = plane.client.get("/healthz", headers={"X-Request-Id": "bad id\n"})

    assert kept.headers["x-request-id"] == "abc-123"
    assert made.headers["x-request-id"].startswith("r-")


def test_large_body_is_refused_with_and_without_its_length(make_plane) -> None:
    plane = make_plane(max_body_bytes=2000)
    large = b'{"name": "' + b"x" * 3000 + b'"}'

    def chunks():
        yield from (large[i : i + 500] for i in range(0, len(large), 500))

    json = {"Content-Type": "application/json"}
    problem(plane.client.post("/v1/domains", content=large, headers=json), 413, "BODY_TOO_LARGE")
    problem(plane.client.post("/v1/domains", content=chunks(), headers=json), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "BAD_REQUEST"),
        (b"", 422, "VALIDATION_FAILED"),
        (b"[]", 422, "VALIDATION_FAILED"),
        (b"null", 422, "VALIDATION_FAILED"),
        (b"\xff\xfe", 400, "BAD_REQUEST"),
    ],
)
def test_body_that_is_no_object_is_refused(plane, content: bytes, status: int, code: str) -> None:
    reply = plane.client.post("/v1/domains", content=content, headers={"Content-Type": "application/json"})
    problem(reply, status, code)


def test_unknown_route_and_method_are_problems_too(plane) -> None:
    problem(plane.client.get("/v1/nothing"), 404, "NOT_FOUND")
    problem(plane.client.put("/v1/domains"), 405, "METHOD_NOT_ALLOWED")


def test_fault_of_ours_tells_nothing_and_has_an_id(plane, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr("udair_platform.services.jobs.submit", fail)
    plane.domain()
    reply = plane.client.post(f"{D}/jobs", json={})

    assert "secret" not in problem(reply, 500, "INTERNAL")["detail"]


def test_pages_end_and_fit_their_list_only(plane) -> None:
    for number in range(7):
        plane.domain(f"cams-{number}")
    names, token = [], ""
    for _ in range(10):
        page = plane.client.get("/v1/domains", params={"page_size": 3, "page_token": token}).json()
        names += [d["name"] for d in page["domains"]]
        token = page["next_page_token"]
        if not token:
            break
    assert names == [f"cams-{n}" for n in range(7)]

    token = plane.client.get("/v1/domains", params={"page_size": 3}).json()["next_page_token"]
    problem(plane.client.get("/v1/domains/-/jobs", params={"page_token": token}), 400, "BAD_REQUEST")
    problem(plane.client.get("/v1/events", params={"page_token": "x"}), 400, "BAD_REQUEST")
    problem(plane.client.get("/v1/domains", params={"page_size": -1}), 400, "BAD_REQUEST")
    assert plane.client.get("/v1/domains", params={"page_size": 10**6}).is_success


def test_platform_says_where_it_serves(make_plane) -> None:
    plane = make_plane(serve_url="http://127.0.0.1:8123")
    told = plane.client.get("/v1/platform").json()

    assert (told["serve_url"], told["tenant"]) == ("http://127.0.0.1:8123", "acme")
    assert told["base_model"]["name"] == "udair-test"
    assert plane.client.get("/v1/baseModels").json()["base_models"][0]["digest"] == "b" * 64


def test_events_say_who_did_what(plane) -> None:
    plane.client.post("/v1/domains", json=DOMAIN)
    events = plane.client.get("/v1/events", params={"domain": "foggy-cams"}).json()["events"]

    assert [(e["kind"], e["actor"][:4]) for e in events] == [("domain.created", "key:")]
