"""What a hostile or broken client may send: each is refused, and the refusal says where it is wrong."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from udair_platform import signing
from udair_platform.errors import Invalid
from udair_platform.roles import ROLES
from udair_platform.services.source_uri import check_apart

DOMAIN = {"name": "foggy-cams", "source_uri": "s3://acme-photos/cams"}
D = "/v1/domains/foggy-cams"
# Every route with a body, and a body that it takes.
BODIES = {
    ("POST", "/v1/domains"): DOMAIN | {"name": "rainy-cams"},
    ("PATCH", D): {"description": "x"},
    ("POST", f"{D}/jobs"): {},
    ("POST", f"{D}:rollback"): {},
    ("POST", f"{D}/versions/1:promote"): {},
    ("POST", f"{D}/versions/1:approve"): {},
    ("POST", f"{D}/versions/1:reject"): {},
    ("POST", f"{D}/versions/1:archive"): {},
    ("PUT", f"{D}/aliases/mine"): {"version": 1},
    ("PUT", f"{D}/route"): {},
    ("POST", "/v1/apiKeys"): {"name": "x", "role": "viewer"},
}


def refused(reply, status: int, code: str) -> list[str]:
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    return [item["pointer"] for item in reply.json().get("errors", [])]


def test_unknown_field_is_pointed_at(plane) -> None:
    plane.version(plane.domain())
    for (method, path), body in BODIES.items():
        reply = plane.client.request(method, path, json=body | {"surprise/~": 1})
        assert refused(reply, 422, "VALIDATION_FAILED") == ["/surprise~1~0"]


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"}",
        b'{"a":',
        b"\xff\xfe{}",
        b'{"name": "\xed\xa0\x80"}',
        b"NaN",
        b"nul",
        b'{"reason": 7}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"version": 1e400}',
        b'{"version": 1' + b"0" * 5000 + b"}",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_body_that_is_no_such_object_is_refused(plane, content: bytes) -> None:
    for method, path in BODIES:
        reply = plane.client.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code in (400, 404, 422), reply.text
        assert reply.json()["code"] in ("BAD_REQUEST", "NOT_FOUND", "VALIDATION_FAILED")


@pytest.mark.parametrize("field", ["name", "source_uri", "description", "gate"])
def test_wrong_type_or_length_is_pointed_at(plane, field: str) -> None:
    for value in (None, True, 7, 1.5, [], {}, "", "x" * 5000, "a\x00b", "\ud83d\ude00"):
        if (field == "description" and value in ("", "\ud83d\ude00")) or (field, value) == ("gate", {}):
            continue
        if (field, value) == ("source_uri", None):  # its images are uploaded
            continue
        body = json.dumps(DOMAIN | {field: value})
        reply = plane.client.post("/v1/domains", content=body, headers={"Content-Type": "application/json"})
        assert [pointer.split("/")[1] for pointer in refused(reply, 422, "VALIDATION_FAILED")] == [field]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc",
        "..",
        ".",
        "a/b",
        "a%2fb",
        "-",
        "ab",
        "UPPER",
        "javascript:alert(1)",
        "<script>",
        "ünïcode",
        "abc\n",
        "ａｂｃ",
        "abc\u202e",
        "abc ",
        "abc\x00",
        "x" * 64,
        "con:fig",
        "a.b.c",
        "日本語",
    ],
)
def test_illegal_name_is_refused_wherever_it_stands(plane, name: str) -> None:
    plane.domain()
    assert refused(plane.client.post("/v1/domains", json=DOMAIN | {"name": name}), 422, "VALIDATION_FAILED") == [
        "/name"
    ]
    if set(name) == {"."}:
        return  # clients take such steps out of a path before they send it
    for path in ("/v1/domains/{}/versions", D + "/versions/{}", D + "/jobs/{}", D + "/snapshots/{}", D + "/aliases/{}"):
        reply = plane.client.get(path.format(_quoted(name)))
        assert reply.status_code in (200, 404), (path, reply.text)
        assert reply.status_code == 404 or "next_page_token" in reply.json(), (path, reply.text)
    reply = plane.client.put(f"{D}/aliases/{_quoted(name)}", json={"version": 0})
    assert reply.status_code in (404, 405, 422) or name == "ab", reply.text


def _quoted(name: str) -> str:
    return quote(name, safe="")


NUL = "a\x00b"


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("PATCH", D, {"description": NUL}, "/description"),
        ("POST", f"{D}/versions/1:promote", {"reason": NUL}, "/reason"),
        ("POST", f"{D}/jobs", {"snapshot": NUL}, "/snapshot"),
        ("POST", "/v1/apiKeys", {"name": NUL, "role": "viewer"}, "/name"),
        ("POST", "/v1/apiKeys", {"name": "x", "role": "viewer", "domains": ["../up"]}, "/domains/0"),
        ("POST", "/v1/apiKeys", {"name": "x", "role": "viewer", "domains": ["x" * 63] * 100}, "/domains"),
        (
            "POST",
            "/v1/apiKeys",
            {"name": "x", "role": "viewer", "expires_time": "9999-12-31T23:59:59-23:00"},
            "/expires_time",
        ),
        ("PUT", f"{D}/aliases/mine", {"version": 2**31}, "/version"),
        ("PUT", f"{D}/aliases/mine", {"version": 0, "if_current": 2**63}, "/if_current"),
        ("PUT", f"{D}/route", {"canary": {"version": 2**31, "percent": 5}}, "/canary/version"),
    ],
)
def test_what_a_database_cannot_hold_is_pointed_at(plane, method: str, path: str, body: dict, pointer: str) -> None:
    plane.version(plane.domain())
    assert refused(plane.client.request(method, path, json=body), 422, "VALIDATION_FAILED") == [pointer]


def test_nul_and_huge_numbers_outside_the_body_are_refused(plane) -> None:
    job = plane.submit(plane.domain())
    for path in ("/v1/domains/a%00b", f"{D}/versions/%00", f"{D}/aliases/x%00/history"):
        refused(plane.client.get(path), 404, "NOT_FOUND")
    for query in ("events?noun=a%00", "events?domain=%00", "domains?page_token=%00", "domains?unknown=%00"):
        refused(plane.client.get(f"/v1/{query}"), 400, "BAD_REQUEST")
    reply = plane.client.get(f"{D}/jobs/{job.id}/logs", params={"attempt": 10**30})
    assert refused(reply, 400, "BAD_REQUEST") == ["/query/attempt"]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://169.254.169.254/latest/meta-data",
        "s3://127.0.0.1/x",
        "s3://10.0.0.5",
        "s3://0x7f.0x0.0x0.0x1/x",
        "s3://127.1/x",
        "s3://[::1]/x",
        "s3://localhost:9000/x",
        "s3://user:secret@bucket/x",
        "s3://metadata@10.0.0.1/",
        "s3://bucket?endpoint=http://10.0.0.1/x",
        "s3://bucket#@10.0.0.1/",
        "s3:///etc/passwd",
        "s3://",
        "s3:bucket/x",
        "S3://bucket/x",
        "s3://Bucket/x",
        "s3://bu..cket/x",
        "s3://bucket/../other",
        "s3://bucket/a/../../other",
        "s3://bucket/./x",
        "s3://bucket/x\r\nHost: 10.0.0.1",
        "s3://bucket\\@10.0.0.1/x",
        "http://bucket.s3.amazonaws.com/x",
        "https://169.254.169.254/",
        "file:///etc",
        "gopher://127.0.0.1:6379/_x",
        "javascript:alert(1)",
        "//10.0.0.1/x",
        "/etc",
        "",
        "arn:aws:s3:::bucket",
        "s3://arn:aws:s3:eu:1:accesspoint/x",
        "s3://xn--bcket-kva/x" + "y" * 1100,
    ],
)
def test_source_that_is_no_bucket_is_refused(plane, uri: str) -> None:
    reply = plane.client.post("/v1/domains", json=DOMAIN | {"source_uri": uri})
    assert refused(reply, 422, "VALIDATION_FAILED") == ["/source_uri"]


@pytest.mark.parametrize(
    ("source", "store", "apart"),
    [
        ("s3://platform/udair", "s3://platform/udair", False),
        ("s3://platform/udair/t/globex", "s3://platform/udair", False),
        ("s3://platform", "s3://platform/udair", False),
        ("s3://platform/", "s3://platform/udair/", False),
        ("s3://platform//udair", "s3://platform/udair", False),
        ("s3://platform/udair//t", "s3://platform/udair", False),
        ("file:////srv/udair/store", "/srv/udair/store", False),
        ("file:///srv/%75dair/./store", "/srv/udair/store", False),
        ("s3://platform/udair-photos", "s3://platform/udair", True),
        ("s3://platform-2/udair", "s3://platform/udair", True),
        ("file:///srv/udair/store/t", "/srv/udair/store", False),
        ("file:///srv/udair", "/srv/udair/store", False),
        ("file:///", "/srv/udair/store", False),
        ("file:///srv/photos", "/srv/udair/store", True),
    ],
)
def test_source_is_never_the_platforms_own_store(source: str, store: str, apart: bool) -> None:
    if apart:
        check_apart(source, store)
    else:
        with pytest.raises(Invalid, match="own store"):
            check_apart(source, store)


def test_store_of_the_plane_is_no_source(make_plane) -> None:
    plane = make_plane(allow_local_sources=True)
    for uri in (f"file://{plane.settings.home}", f"file://{plane.settings.home}/store/t/globex", "file:///"):
        reply = plane.client.post("/v1/domains", json=DOMAIN | {"source_uri": uri})
        assert refused(reply, 422, "VALIDATION_FAILED") == ["/source_uri"]


def test_secret_in_a_refused_source_is_not_repeated(plane) -> None:
    reply = plane.client.post("/v1/domains", json=DOMAIN | {"source_uri": "s3://AKIAABCDEFGHIJKLMNOP:hunter2@bucket/x"})
    assert reply.status_code == 422
    assert "hunter2" not in reply.text
    assert "AKIAABCDEFGHIJKLMNOP" not in reply.text


def test_page_token_is_of_one_list_and_one_filter(plane) -> None:
    for number in range(3):
        plane.version(plane.domain(f"cams-{number}"))
    first = plane.client.get("/v1/events", params={"noun": "job", "page_size": 1}).json()["next_page_token"]
    forged = ("B" if first[0] == "A" else "A") + first[1:]

    def ask(path: str, **params: object):
        return plane.client.get(path, params={"page_size": 1, "page_token": first, **params})

    assert ask("/v1/events", noun="job").is_success
    for reply in (
        ask("/v1/events"),
        ask("/v1/events", noun="version"),
        ask("/v1/events", noun="job", domain="cams-1"),
        ask("/v1/domains", noun="job"),
        ask("/v1/domains/cams-1/versions"),
        plane.client.get("/v1/events", params={"noun": "job", "page_token": forged}),
        plane.client.get("/v1/events", params={"page_token": "\u00e9" * 20}),
        plane.client.get("/v1/events", params={"page_token": "x" * 600}),
    ):
        assert refused(reply, 400, "BAD_REQUEST")[0].endswith("page_token")


def test_page_token_is_of_one_tenant_and_tells_nothing_of_the_others(plane, other_tenant) -> None:
    for number in range(3):
        plane.domain(f"cams-{number}")
        plane.domain(f"cams-{number}", tenant=other_tenant)
    token = plane.client.get("/v1/domains", params={"page_size": 1}).json()["next_page_token"]
    theirs = {"Authorization": f"Bearer {plane.token('admin', tenant=other_tenant)}"}
    reply = plane.client.get("/v1/domains", params={"page_size": 1, "page_token": token}, headers=theirs)
    assert refused(reply, 400, "BAD_REQUEST")[0].endswith("page_token")
    own = plane.client.get("/v1/domains", params={"page_size": 1}, headers=theirs).json()["next_page_token"]
    differ = [a ^ b for a, b in zip(signing.decode(token)[12:], signing.decode(own)[12:], strict=True)]
    assert sum(map(bool, differ)) > 2, "positions that differ by one differ in the last byte, when in clear"


@pytest.mark.parametrize("size", ["-1", "x", "1e3", "", "99999999999999999999999", "0x10", "１"])
def test_page_size_that_is_none_is_pointed_at(plane, size: str) -> None:
    reply = plane.client.get("/v1/domains", params={"page_size": size})
    if reply.status_code != 200:
        assert refused(reply, 400, "BAD_REQUEST") == ["/query/page_size"]


def test_replayed_idempotency_key_wants_the_same_request(plane) -> None:
    plane.version(plane.domain())
    headers = {"Idempotency-Key": "once"}
    first = plane.client.post(f"{D}/versions/1:promote", json={"reason": "a"}, headers=headers)
    again = plane.client.post(f"{D}/versions/1:promote", json={"reason": "a"}, headers=headers)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")

    for path, body in (
        (f"{D}/versions/1:promote", {"reason": "b"}),
        (f"{D}/versions/0:promote", {"reason": "a"}),
        (f"{D}:rollback", {}),
        ("/v1/domains", DOMAIN | {"name": "new-one"}),
    ):
        refused(plane.client.post(path, json=body, headers=headers), 422, "IDEMPOTENCY_MISMATCH")
    assert plane.client.get("/v1/domains/new-one").status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x"}, ""),
        ({"name": "x", "role": "viewer", "scopes": ["domain:read"]}, ""),
        ({"name": "x", "role": "king"}, "/role"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "x", "scopes": []}, "/scopes"),
    ],
)
def test_key_wants_a_role_or_scopes(plane, body: dict, pointer: str) -> None:
    assert refused(plane.client.post("/v1/apiKeys", json=body), 422, "VALIDATION_FAILED") == [pointer]


@pytest.mark.parametrize("role", ["viewer", "operator", "approver", "admin"])
def test_role_is_shown_with_its_scopes(plane, role: str) -> None:
    made = plane.client.post("/v1/apiKeys", json={"name": "x", "role": role}).json()
    assert (made["role"], made["scopes"]) == (role, list(ROLES[role]))
    same = plane.client.post("/v1/apiKeys", json={"name": "y", "scopes": list(ROLES[role])}).json()
    assert same["role"] == role
    odd = plane.client.post("/v1/apiKeys", json={"name": "z", "scopes": ["job:run", "version:approve"]}).json()
    assert odd["role"] is None
