"""Nobody sees another tenant's things, or does what a key does not allow: every route of the application.

The routes are those that the application has, so that a new one cannot be forgotten here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from udair_platform.contract.receipts import Receipt
from udair_platform.contract.serving_history import ServedHistory
from udair_platform.services.serving_history import signature
from udair_platform.signing import Purpose, seal

# What a caller of the other tenant would put into a body; without an entry it is {}.
BODIES = {
    "/v1/domains": {"name": "rainy-cams", "source_uri": "s3://acme-photos/rain"},
    "/v1/domains/{domain}/aliases/{alias}": {"version": 0},
    "/v1/domains/{domain}/uploads": {"names": ["a.png"]},
    "/v1/apiKeys": {"name": "mine", "role": "viewer"},
}
PUBLIC = {"/healthz", "/readyz"}
# Asked with a body, and nothing is written: what is asked about is longer than a URL should be.
RECEIPT, HISTORY = "/v1/receipts:verify", "/v1/servedHistory:verify"
# A link opens the console with the rights of the key that asked for it, and no others.
READS = {RECEIPT, HISTORY, "/v1/loginLinks"}
WRITES = ("POST", "PUT", "PATCH", "DELETE")
# Routes that name nothing of anybody; where they list something, `test_lists_hold_only_ones_own` looks into it.
OWN = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/platform",
    "/v1/baseModels",
    "/v1/openapi.json",
    "/v1/domains",
    "/v1/apiKeys",
    "/v1/events",
    "/v1/webhooks",
    "/v1/usage",
    "/v1/budget",
    "/v1/attention",
    "/v1/loginLinks",
}


# Where a form's URL leads: no key opens it, and a ticket is good for one name (`test_sources.py`).
TICKETS = "/v1/uploads/{ticket}"


def routes_of(app) -> Iterator[tuple[str, str]]:
    """(method, path template) of everything that the application answers to keys."""
    for context in iter_route_contexts(app.routes):
        assert isinstance(context.original_route, APIRoute), f"{context.path} is no route that this test knows"
        if context.path == TICKETS:
            continue
        for method in sorted(context.methods or ()):
            yield method, context.path


@pytest.fixture
def walked(make_plane):
    """A plane with one of everything, without limits on how often it is asked, and a filler of templates."""
    plane = make_plane(rate_limit_per_minute=0, failed_auth_per_minute=0)
    domain = plane.domain()
    plane.version(domain)
    job = plane.submit(domain)
    made = plane.client.post("/v1/webhooks", json={"url": "https://hooks.example.com/"})
    webhook = made.json()["id"]
    with plane.database.read() as state:
        kid = state.keys.page("acme")[0].kid
    places = {
        "{domain}": domain.name,
        "{job}": job.id,
        "{snapshot}": job.snapshot_id,
        "{version}": "1",
        "{alias}": "champion",
        "{kid}": kid,
        "{webhook}": webhook,
        "{name}": "adapter.safetensors",
    }

    def filled(path: str, **other: str) -> str:
        for place, value in (places | other).items():
            path = path.replace(place, value)
        assert "{" not in path, f"{path} has a place that this test does not know"
        return path

    return plane, job, filled


def send(plane, method: str, template: str, path: str, token: str | None):
    body = BODIES.get(template, {}) if method in ("POST", "PUT", "PATCH") else None
    if template in (RECEIPT, HISTORY):
        body = signed(plane)[template]
    authorization = "" if token is None else f"Bearer {token}"
    return plane.client.request(method, path, json=body, headers={"Authorization": authorization})


def signed(plane) -> dict[str, dict[str, str]]:
    """What the platform signed for the first tenant, as bodies that ask about it."""
    now = plane.clock()
    receipt = Receipt(
        tenant="acme", domain="foggy-cams", version=1, base_digest="b", adapter_digest="a", tone="keep",
        restoration="model", fallback="none", test_time=False, sha256="0" * 64, request_id="r", time=now,
    )  # fmt: skip
    history = ServedHistory(tenant="acme", domain="foggy-cams", from_time=now, to_time=now, spans=[])
    return {
        RECEIPT: {"receipt": seal(plane.signing_key, Purpose.RECEIPT, receipt.model_dump_json().encode())},
        HISTORY: {
            "sha256": hashlib.sha256(b"rows").hexdigest(),
            "signature": signature(plane.signing_key, history, b"rows", now),
        },
    }


def test_the_schema_tells_every_route(plane) -> None:
    paths = plane.client.get("/v1/openapi.json").json()["paths"]
    told = {(method.upper(), path) for path, methods in paths.items() for method in methods}

    assert set(routes_of(plane.client.app)) == told
    assert len(told) > 30


def test_every_route_with_another_tenants_ids_is_not_found(walked) -> None:
    plane, job, filled = walked
    stranger = plane.token("admin", tenant="globex")
    for method, template in routes_of(plane.client.app):
        if template in OWN:
            continue
        paths = {filled(template)} | ({filled(template, **{"{domain}": "-"})} if "{job}" in template else set())
        for path in paths:
            reply = send(plane, method, template, path, stranger)
            assert (reply.status_code, reply.json().get("code")) == (404, "NOT_FOUND"), (method, path, reply.json())

    assert plane.job(job.id).state == "QUEUED"
    assert plane.client.get("/v1/domains/foggy-cams").json()["champion"] == 0
    assert plane.client.get("/v1/domains").is_success  # the admin's key was not revoked


def test_every_route_without_a_key_is_refused(walked) -> None:
    plane, _, filled = walked
    for method, template in routes_of(plane.client.app):
        reply = send(plane, method, template, filled(template), None)
        if template in PUBLIC:
            assert reply.status_code == 200
        else:
            assert (reply.status_code, reply.json()["code"]) == (401, "UNAUTHENTICATED"), (method, template)
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_every_writing_route_is_closed_to_viewers(walked) -> None:
    plane, _, filled = walked
    viewer = plane.token("domain:read")
    written = 0
    for method, template in routes_of(plane.client.app):
        if method in WRITES and template not in READS:
            reply = send(plane, method, template, filled(template), viewer)
            assert (reply.status_code, reply.json().get("code")) == (403, "FORBIDDEN"), (method, template)
            written += 1
    assert written > 12


def test_every_route_of_a_domain_is_closed_to_keys_of_another(walked) -> None:
    plane, _, filled = walked
    limited = plane.token("domain:read", "domain:write", "job:run", "version:approve", only=("rainy-cams",))
    for method, template in routes_of(plane.client.app):
        if "{domain}" in template or template == RECEIPT:
            reply = send(plane, method, template, filled(template), limited)
            assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND"), (method, template)


def test_lists_hold_only_ones_own(plane) -> None:
    plane.submit(plane.domain())
    token = plane.token("admin", tenant="globex")
    for path, items in (
        ("/v1/domains", "domains"),
        ("/v1/domains/-/jobs", "jobs"),
        ("/v1/events", "events"),
        ("/v1/apiKeys", "keys"),
        ("/v1/webhooks", "webhooks"),
    ):
        page = plane.client.get(path, headers={"Authorization": f"Bearer {token}"}).json()[items]
        text = str(page)
        assert "foggy-cams" not in text
        assert "acme" not in text


def test_same_name_is_another_domain_for_another_tenant(plane) -> None:
    plane.version(plane.domain())
    auth = {"Authorization": f"Bearer {plane.token('admin', tenant='globex')}"}
    body = {"name": "foggy-cams", "source_uri": "s3://globex/x"}

    assert plane.client.post("/v1/domains", json=body, headers=auth).status_code == 201
    assert plane.client.get("/v1/domains/foggy-cams/versions", headers=auth).json()["versions"] == []
    assert plane.client.get("/v1/domains/foggy-cams", headers=auth).json()["source_uri"] == "s3://globex/x"
