"""Nobody sees another tenant's things: every route, with the other's names and ids, answers 404."""

from __future__ import annotations

from udair_platform.registry import first_start

# What a caller of the other tenant would put into each place of a path, and into each body.
BODIES = {
    "/v1/domains/{domain}/jobs": {},
    "/v1/domains/{domain}/aliases/{alias}": {"version": 0},
    "/v1/domains/{domain}/uploads": {"names": ["a.png"]},
}
# Routes that name nothing of anybody: their lists are looked at below.
OWN = {
    "/healthz", "/readyz", "/v1/platform", "/v1/baseModels", "/v1/openapi.json", "/v1/domains", "/v1/apiKeys",
    "/v1/events", "/v1/webhooks",
}  # fmt: skip


def test_every_route_with_another_tenants_ids_is_not_found(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    job = plane.submit(domain)
    made = plane.client.post("/v1/webhooks", json={"url": "https://hooks.example.com/"})
    webhook = made.json()["webhook"]["id"]
    with plane.database.read() as state:
        base = state.bases.current()
        kid = state.keys.page("acme")[0].kid
    stranger = first_start.ensure_platform(
        plane.database, signing_key=plane.signing_key, base=base, tenant="globex", now=plane.clock()
    ).admin_token
    places = {
        "{domain}": domain.name, "{job}": job.id, "{snapshot}": job.snapshot_id, "{version}": "1",
        "{alias}": "champion", "{kid}": kid, "{webhook}": webhook, "{name}": "adapter.safetensors",
    }  # fmt: skip
    walked = 0
    for path, methods in plane.client.get("/v1/openapi.json").json()["paths"].items():
        for method in methods:
            if path in OWN:
                continue
            filled = [path] if "{job}" not in path else [path, path.replace("{domain}", "-")]
            for one in filled:
                for place, value in places.items():
                    one = one.replace(place, value)
                assert "{" not in one, f"{path} has a place that this test does not know"
                body = BODIES.get(path, {}) if method in ("post", "put", "patch") else None
                reply = plane.client.request(method, one, json=body, headers={"Authorization": f"Bearer {stranger}"})
                assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND"), (method, one)
                walked += 1
    assert walked >= 25

    assert plane.job(job.id).state == "QUEUED"
    assert plane.client.get(f"/v1/domains/{domain.name}").json()["champion"] == 0
    assert plane.client.get("/v1/domains").is_success  # the admin's key was not revoked


def test_lists_hold_only_ones_own(plane) -> None:
    plane.submit(plane.domain())
    token = plane.token("admin", tenant="globex")
    for path, items in (
        ("/v1/domains", "domains"), ("/v1/domains/-/jobs", "jobs"), ("/v1/events", "events"),
        ("/v1/apiKeys", "keys"), ("/v1/webhooks", "webhooks"),
    ):  # fmt: skip
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
