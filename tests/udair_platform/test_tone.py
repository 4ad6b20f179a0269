"""An intent is chosen by people: it puts what was made for the other out of use, everywhere, and says so."""

from __future__ import annotations

import re

import pytest

from udair_jobs.adapt_domain.specs import AdaptSpec
from udair_jobs.storage import open_storage
from udair_platform.documents import routes
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.services import domains

D = "/v1/domains/foggy-cams"


@pytest.fixture
def served(plane):
    """A domain whose version 1 serves."""
    plane.version(plane.domain())
    assert plane.client.post(f"{D}/versions/1:promote").status_code == 200
    return plane


def entry(plane) -> dict:
    routes.publish(plane.database, plane.store)
    document = routes.read(plane.store)
    assert document is not None
    return document["domains"]["acme/foggy-cams"]


def spec_of(plane) -> AdaptSpec:
    """What the last job was launched with."""
    folder, _, name = plane.launcher.requests[-1].spec_uri.rpartition("/")
    return AdaptSpec.model_validate_json(open_storage(folder).get(name))


def test_keep_is_what_a_domain_has_unless_somebody_says_otherwise(plane):
    body = {"name": "night-cams", "source_uri": "s3://acme-photos/cams"}
    assert plane.client.post("/v1/domains", json=body).json()["tone"] == "keep"
    restored = plane.client.post("/v1/domains", json={**body, "name": "dusk-cams", "tone": "restore"})
    assert (restored.status_code, restored.json()["tone"]) == (201, "restore")
    refused = plane.client.post("/v1/domains", json={**body, "name": "dawn-cams", "tone": "brighter"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/tone")


def test_another_tone_puts_versions_out_of_use_until_the_domain_is_adapted_again(served):
    plane = served
    assert entry(plane)["adapter_digest"] is not None

    changed = plane.client.patch(D, json={"tone": "restore"}).json()

    why = "version 1 was made for tone keep, and the domain's is restore"
    assert (changed["tone"], changed["out_of_use"], changed["champion"]) == ("restore", why, 1)
    assert plane.client.get("/v1/domains").json()["domains"][0]["out_of_use"] == why
    assert plane.client.get(f"{D}/route").json()["out_of_use"] == why
    assert plane.client.get(f"{D}/versions/1").json()["out_of_use"] == why
    assert (entry(plane)["adapter_digest"], entry(plane)["tone"], entry(plane)["out_of_use"]) == (None, "restore", why)
    refused = plane.client.post(f"{D}/versions/1:promote")
    assert (refused.status_code, refused.json()["code"]) == (409, "INVALID_STATE")
    assert "made for tone keep" in refused.json()["detail"]

    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    assert plane.version(domain) == 2
    assert plane.client.get(f"{D}/versions/2").json()["tone"] == "restore"
    assert plane.client.post(f"{D}/versions/2:promote").status_code == 200
    assert plane.client.get(D).json()["out_of_use"] == ""
    assert entry(plane)["adapter_digest"] is not None


def test_an_adaptation_starts_from_a_champion_of_its_own_tone_only(served):
    plane = served
    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    plane.settle(plane.submit(domain).id)
    assert spec_of(plane).champion_uri is not None
    plane.client.patch(D, json={"tone": "restore"})
    with plane.database.read() as state:
        domain = state.domains.get("acme", "foggy-cams")
    plane.settle(plane.submit(domain).id)
    assert (spec_of(plane).champion_uri, spec_of(plane).tone) == (None, "restore")


def test_another_base_model_puts_versions_out_of_use_and_says_so(served):
    plane = served
    with plane.database.write() as state:
        state.bases.add(RegisteredModel("newer", "e" * 64, "packaged:newer", plane.clock()))

    shown = plane.client.get(D).json()

    assert shown["champion"] == 1
    assert re.fullmatch(r"version 1 was made for base model b{12}, and newer \(e{12}\) serves", shown["out_of_use"])
    assert entry(plane)["out_of_use"] == shown["out_of_use"]


def test_a_domain_that_the_base_model_harms_is_served_as_it_came_until_it_does_not(plane):
    domain = plane.domain()
    why = "the base model moves exposure or colour by 40 of 255 levels or more on 9 images, although tone is kept"
    with plane.change() as tx:
        domains.judge_base(tx, domain, why)

    assert plane.client.get(D).json()["passthrough"] == why
    assert entry(plane)["passthrough"] == why
    events = plane.client.get("/v1/events", params={"noun": "domain"}).json()["events"]
    assert (events[-1]["kind"], events[-1]["data"]) == ("domain.passthrough", {"reason": why})

    plane.settle(plane.submit(domain).id)  # its job found nothing against the base model
    assert plane.client.get(D).json()["passthrough"] == ""
    assert entry(plane)["passthrough"] == ""
