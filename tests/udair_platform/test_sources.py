"""Where images come from: roles with ids that we make, uploads without a bucket, and whether a job could read."""

from __future__ import annotations

import httpx
import pytest

from udair_jobs.specs import AdaptSpec

ROLE = "arn:aws:iam::123456789012:role/reader"


def _create(plane, **body) -> httpx.Response:
    return plane.client.post("/v1/domains", json={"name": "foggy-cams", **body})


def test_every_domain_has_an_external_id_that_nobody_chose(plane):
    ids = set()
    for name in ("one-cams", "two-cams"):
        answer = _create(plane, name=name, source_uri="s3://acme/cams", source_role_arn=ROLE)
        assert answer.status_code == 201, answer.text
        ids.add(answer.json()["external_id"])
    assert len(ids) == 2
    assert all(len(id) == 32 for id in ids)
    assert _create(plane, source_uri="s3://acme/x", external_id="mine").status_code == 422


def test_the_job_is_told_the_role(plane):
    made = _create(plane, source_uri="s3://acme/cams", source_role_arn=ROLE).json()
    job = plane.client.post("/v1/domains/foggy-cams/jobs", json={}).json()
    plane.settle(job["id"])
    spec = AdaptSpec.model_validate_json(plane.store.get(f"t/acme/d/foggy-cams/jobs/{job['id']}/attempts/1/spec.json"))
    assert (spec.source_role_arn, spec.source_external_id) == (ROLE, made["external_id"])


def test_a_platform_may_read_no_bucket_with_its_own_rights(make_plane, s3):
    plane = make_plane(
        require_source_role=True, store_uri=f"s3://{s3.bucket()}/platform", store_endpoint_url=s3.endpoint_url
    )
    refused = _create(plane, source_uri="s3://acme/cams")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/source_role_arn")
    assert _create(plane, source_uri="s3://acme/cams", source_role_arn=ROLE).status_code == 201
    assert _create(plane, name="upload-cams").status_code == 201, "what is uploaded is the platform's to read"


@pytest.mark.parametrize("arn", ["reader", "arn:aws:iam::1:role/x", "arn:aws:s3:::bucket", ROLE + "\n", ROLE + " x"])
def test_what_is_no_role_is_refused(plane, arn):
    answer = _create(plane, source_uri="s3://acme/cams", source_role_arn=arn)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/source_role_arn"


def test_access_is_checked_step_by_step(make_plane, s3):
    plane = make_plane(s3_endpoint_url=s3.endpoint_url)
    bucket = s3.bucket()
    _create(plane, source_uri=f"s3://{bucket}/cams", source_role_arn=ROLE)
    check = "/v1/domains/foggy-cams:checkAccess"
    empty = plane.client.post(check).json()
    assert empty["ok"] is False
    assert "empty" in empty["steps"][-1]["detail"]
    s3.put(bucket, "cams/a.png", b"\x89PNG....")
    good = plane.client.post(check).json()
    assert good["ok"] is True
    assert [step["name"] for step in good["steps"]] == ["assume_role", "list", "read"]
    plane.client.post("/v1/domains", json={"name": "other-cams", "source_uri": "s3://no-such-bucket-here/cams"})
    missing = plane.client.post("/v1/domains/other-cams:checkAccess").json()
    assert missing["ok"] is False
    assert missing["steps"][-1]["name"] == "list"


def test_a_customer_without_a_bucket_uploads(make_plane, s3):
    plane = make_plane(store_uri=f"s3://{s3.bucket()}/platform", store_endpoint_url=s3.endpoint_url)
    made = _create(plane)
    assert made.status_code == 201, made.text
    assert made.json()["source_uri"].endswith("/t/acme/d/foggy-cams/images")
    forms = plane.client.post("/v1/domains/foggy-cams/uploads", json={"names": ["a.png", "b.jpg"]}).json()["uploads"]
    assert [form["name"] for form in forms] == ["a.png", "b.jpg"]
    for form in forms:
        sent = httpx.post(form["url"], data=form["fields"], files={"file": (form["name"], b"\x89PNG data")})
        assert sent.status_code == 204, sent.text
    assert plane.store.get("t/acme/d/foggy-cams/images/a.png") == b"\x89PNG data"
    assert plane.client.post("/v1/domains/foggy-cams:checkAccess").json()["ok"] is True
    for name in ("../x.png", "a/b.png", "", ".hidden", "x" * 201, "a\n.png"):
        refused = plane.client.post("/v1/domains/foggy-cams/uploads", json={"names": [name]})
        assert refused.status_code == 422, name


def _form(plane, name: str = "a.png") -> dict:
    return plane.client.post("/v1/domains/foggy-cams/uploads", json={"names": [name]}).json()["uploads"][0]


def _send(plane, form: dict, data: bytes, **changes) -> httpx.Response:
    """As somebody without a key."""
    path = form["url"].partition("/v1/")[2]
    return plane.client.post(
        f"/v1/{path}", data=form["fields"], files={"file": ("x", data)}, headers={"Authorization": ""}, **changes
    )


def test_a_platform_whose_store_is_a_folder_takes_uploads_itself(plane):
    made = _create(plane)
    assert made.status_code == 201, made.text
    assert _send(plane, _form(plane), b"\x89PNG data").status_code == 204
    assert plane.store.get("t/acme/d/foggy-cams/images/a.png") == b"\x89PNG data"
    assert plane.client.post("/v1/domains/foggy-cams:checkAccess").json()["ok"] is True
    assert _send(plane, _form(plane), b"").status_code == 400
    # More than the control API reads otherwise, and no more than a form says.
    assert _send(plane, _form(plane, "big.png"), bytes(3 * 2**20)).status_code == 204
    assert _send(plane, _form(plane, "huge.png"), bytes(66 * 2**20)).status_code == 413


def test_a_ticket_is_good_for_one_name_and_fifteen_minutes(plane):
    _create(plane)
    form = _form(plane)
    ticket = form["url"].rpartition("/")[2]
    for wrong in (ticket[:-1] + ("A" if ticket[-1] != "A" else "B"), "x", ticket[::-1]):
        answer = _send(plane, form | {"url": f"http://x/v1/uploads/{wrong}"}, b"data")
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), answer.text
    plane.clock.forward(16 * 60)
    late = _send(plane, form, b"data")
    assert late.status_code == 403
    assert "was good until" in late.json()["detail"]
    assert not plane.store.exists("t/acme/d/foggy-cams/images/a.png")


def test_a_domain_with_a_place_of_its_own_takes_no_uploads(plane):
    _create(plane, source_uri="s3://acme/cams")
    refused = plane.client.post("/v1/domains/foggy-cams/uploads", json={"names": ["a.png"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_STATE")


def test_where_a_version_comes_from_and_its_files(plane):
    domain = plane.domain()
    number = plane.version(domain)
    plane.client.post(f"/v1/domains/{domain.name}/versions/{number}:promote", json={"reason": "better"})
    lineage = plane.client.get(f"/v1/domains/{domain.name}/versions/@champion/lineage").json()
    assert lineage["version"] == number
    assert lineage["snapshot_digest"] == "d" * 64
    assert lineage["images"] == 40
    assert lineage["recipe"] == {"steps": 3}
    assert [move["reason"] for move in lineage["served"]] == ["better"]
    files = plane.client.get(f"/v1/domains/{domain.name}/versions/{number}/files").json()["files"]
    assert "adapter.safetensors" in {item["name"] for item in files}
    path = f"/v1/domains/{domain.name}/versions/{number}/files"
    for item in files:
        data = plane.client.get(f"{path}/{item['name']}")
        assert len(data.content) == item["size_bytes"]
    assert set(plane.client.get(f"{path}/MANIFEST.json").json()["files"]) == {item["name"] for item in files}
    for name in ("..%2f..%2fresult.json", "nothing"):
        assert plane.client.get(f"{path}/{name}").status_code == 404
