"""Tenants: made with a key of their own, and bounded in what they may use."""

from __future__ import annotations

import pytest

from udair_platform.entities.tenant import Quota
from udair_platform.errors import AlreadyExists, Invalid, NotFound, QuotaExceeded
from udair_platform.services import tenants
from udair_platform.services.change import Change
from udair_platform.settings import load_settings


def refused(reply) -> str:
    assert (reply.status_code, reply.json()["code"]) == (409, "QUOTA_EXCEEDED"), reply.text
    return reply.json()["detail"]


def test_a_tenants_queue_and_domains_are_bounded(make_plane) -> None:
    plane = make_plane(tenant_max_queued_jobs=2, tenant_max_domains=2)
    for name in ("one-cams", "two-cams"):
        plane.domain(name)
    third = plane.client.post("/v1/domains", json={"name": "three-cams", "source_uri": "s3://acme/cams"})
    assert refused(third) == "Tenant 'acme' has 2 domains; at most 2 are kept. Delete some first."
    for name in ("one-cams", "two-cams"):
        assert plane.client.post(f"/v1/domains/{name}/jobs", json={}).status_code == 202
    full = plane.client.post("/v1/domains/one-cams/jobs", json={}, headers={"Idempotency-Key": "k"})
    assert "has 2 jobs that have not ended; at most 2 are kept. Wait" in refused(full)
    with plane.database.write() as state:
        tenants.limit(state, "acme", Quota(queued_jobs=3))
    assert plane.client.post("/v1/domains/one-cams/jobs", json={}, headers={"Idempotency-Key": "k"}).status_code == 202


def test_a_limit_is_the_number_that_there_may_be(plane) -> None:
    domain = plane.domain()
    plane.submit(domain)
    with plane.database.read() as state:
        for most in (0, 1):
            tx = Change(state, "test", plane.clock(), objects=plane.store, quota=Quota(None, most, most))
            with pytest.raises(QuotaExceeded):
                tenants.check_room_for_job(tx, "acme")
            with pytest.raises(QuotaExceeded):
                tenants.check_room_for_domain(tx, "acme")
        for most in (2, None):
            tx = Change(state, "test", plane.clock(), objects=plane.store, quota=Quota(None, most, most))
            tenants.check_room_for_job(tx, "acme")
            tenants.check_room_for_domain(tx, "acme")


def test_limits_are_set_left_as_they_are_and_given_back(plane) -> None:
    def limited(*quota: int | None) -> tuple[int | None, ...]:
        with plane.database.write() as state:
            told = tenants.limit(state, "globex", Quota(*quota))
            assert state.tenants.get("globex") == told
            return told.max_concurrent_jobs, told.max_queued_jobs, told.max_domains

    with plane.database.write() as state:
        state.tenants.ensure("globex", now=plane.clock())
    assert limited(1, 2, 3) == (1, 2, 3)
    assert limited(None, 5, None) == (1, 5, 3)
    assert limited(4, None, 6) == (4, 5, 6)
    assert limited(0, None, None) == (None, 5, 6)
    assert limited(None, 0, 0) == (None, None, None)
    with plane.database.write() as state, pytest.raises(NotFound):
        tenants.limit(state, "initech", Quota(1))


def test_limits_of_the_platform_are_those_of_tenants_without_their_own(tmp_path) -> None:
    settings = load_settings(
        home=tmp_path, tenant_max_concurrent_jobs=1, tenant_max_queued_jobs=2, tenant_max_domains=3
    )
    unlimited = load_settings(
        home=tmp_path, tenant_max_concurrent_jobs=0, tenant_max_queued_jobs=0, tenant_max_domains=0
    )
    assert tenants.default_quota(settings) == Quota(1, 2, 3)
    assert tenants.default_quota(unlimited) == Quota(None, None, None)


def test_a_tenant_is_made_with_an_admins_key_of_its_own_and_once(plane) -> None:
    with plane.change() as tx:
        tenant, token = tenants.create(tx, plane.signing_key, "initech")
    headers = {"Authorization": f"Bearer {token}"}
    assert plane.client.get("/v1/platform", headers=headers).json()["tenant"] == tenant.id == "initech"
    assert plane.client.get("/v1/domains", headers=headers).json()["domains"] == []
    (key,) = plane.client.get("/v1/apiKeys", headers=headers).json()["keys"]
    assert (key["name"], key["role"]) == ("admin", "admin")
    for wrong in ("../etc", "In", ""):
        with plane.change() as tx, pytest.raises(Invalid):
            tenants.create(tx, plane.signing_key, wrong)
    with plane.change() as tx, pytest.raises(AlreadyExists, match="'initech' exists already"):
        tenants.create(tx, plane.signing_key, "initech")
