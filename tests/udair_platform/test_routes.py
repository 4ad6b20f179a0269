"""routes.json follows the database, whatever happened to either."""

from __future__ import annotations

import json

import pytest

from udair_jobs.storage import PreconditionFailed, StorageUnavailable
from udair_platform.documents import routes, store_paths
from udair_platform.entities.registered_model import RegisteredModel
from udair_platform.errors import StoreDown
from udair_platform.operations import fsck

PROMOTE = "/v1/domains/foggy-cams/versions/1:promote"


def test_document_says_what_serves(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    plane.domain("rainy-cams", tenant="globex")

    assert plane.client.post(PROMOTE).status_code == 200

    document = routes.read(plane.store)
    assert document is not None
    served = document["domains"]["acme/foggy-cams"]
    assert document["schema_version"] == 2
    assert document["base_model"] == {"name": "udair-test", "digest": "b" * 64, "uri": "packaged:tiny"}
    assert served["version"] == 1
    assert served["candidate_uri"].endswith("/attempts/1/candidate")
    assert len(served["adapter_digest"]) == 64
    assert document["domains"]["globex/rainy-cams"] == {
        "version": 0,
        "adapter_digest": None,
        "candidate_uri": None,
        "canary": None,
        "shadow": None,
        "pinned": False,
        "min_ready": 0,
        "tone": "keep",
        "passthrough": "",
        "source_uri": "s3://acme-photos/cams",
        "source_role_arn": None,
        "source_external_id": None,
        "profile_uri": None,
    }


def test_generation_rises_with_every_change_and_rests_otherwise(plane) -> None:
    generations = []
    plane.domain()
    generations.append(routes.publish(plane.database, plane.store))
    assert routes.publish(plane.database, plane.store) == generations[0]
    plane.version(plane.domain("rainy-cams"))
    generations.append(routes.publish(plane.database, plane.store))
    plane.client.post("/v1/domains/rainy-cams/versions/1:promote")
    generations.append(routes.read(plane.store)["generation"])
    kid = plane.client.post("/v1/apiKeys", json={"name": "x", "scopes": ["restore:invoke"]}).json()["kid"]
    plane.client.post(f"/v1/apiKeys/{kid}:revoke")
    generations.append(routes.read(plane.store)["generation"])

    assert generations == sorted(set(generations))
    assert list(routes.read(plane.store)["revoked_keys"]) == [kid]


def test_crash_between_alias_and_document_heals_at_the_next_tick(plane, monkeypatch) -> None:
    plane.version(plane.domain())
    with monkeypatch.context() as away:
        away.setattr(routes, "publish", lambda *_: (_ for _ in ()).throw(StoreDown("gone")))
        assert plane.client.post(PROMOTE).status_code == 200
    assert routes.read(plane.store)["domains"]["acme/foggy-cams"]["version"] == 0

    plane.reconciler.tick()

    assert routes.read(plane.store)["domains"]["acme/foggy-cams"]["version"] == 1


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"generation": "x"}', None])
def test_damaged_or_missing_document_is_written_again(plane, damage: bytes | None) -> None:
    plane.domain()
    routes.publish(plane.database, plane.store)
    if damage is None:
        plane.store.delete(store_paths.ROUTES)
    else:
        plane.store.put(store_paths.ROUTES, damage)

    plane.reconciler.tick()

    assert "acme/foggy-cams" in routes.read(plane.store)["domains"]


def test_document_of_a_lost_database_is_overtaken(plane) -> None:
    plane.domain()
    routes.publish(plane.database, plane.store)
    newer = {**json.loads(plane.store.get(store_paths.ROUTES)), "generation": 500, "shards": {}}
    plane.store.put(store_paths.ROUTES, json.dumps(newer).encode())

    assert routes.publish(plane.database, plane.store) == 501
    assert "acme/foggy-cams" in routes.read(plane.store)["domains"]


def test_older_document_never_replaces_a_newer_one(plane, monkeypatch) -> None:
    """A writer that read the database and then slept finds that it was overtaken."""
    plane.domain()
    routes.publish(plane.database, plane.store)
    entries, slept = routes.entries, []

    def render_and_be_overtaken(state, shards):
        found = entries(state, shards)
        if not slept:
            slept.append(True)
            plane.domain("rainy-cams")
            routes.publish(plane.database, plane.store)
        return found

    monkeypatch.setattr(routes, "entries", render_and_be_overtaken)
    plane.domain("dusty-cams")
    routes.publish(plane.database, plane.store)

    assert set(routes.read(plane.store)["domains"]) == {
        "acme/foggy-cams",
        "acme/rainy-cams",
        "acme/dusty-cams",
    }


def test_champion_of_another_base_model_is_routed_to_the_source_model(plane) -> None:
    plane.version(plane.domain())
    plane.client.post(PROMOTE)
    with plane.database.write() as state:
        state.bases.add(RegisteredModel("newer", "e" * 64, "packaged:newer", plane.clock()))
        routes.all_changed(state)

    routes.publish(plane.database, plane.store)

    assert routes.read(plane.store)["domains"]["acme/foggy-cams"]["version"] == 0


def test_store_that_is_away_is_unavailable(plane) -> None:
    class Away:
        uri = "s3://gone"

        def head(self, key):
            raise StorageUnavailable("s3://gone", "no answer")

    with pytest.raises(StoreDown):
        routes.publish(plane.database, Away())


def test_store_that_always_changes_is_given_up_for_now(plane) -> None:
    class Contended:
        uri = plane.store.uri

        def __getattr__(self, name):
            return getattr(plane.store, name)

        def put(self, key, data, **_):
            raise PreconditionFailed(key, "changed")

    plane.domain()
    with pytest.raises(StoreDown, match="changed 5 times"):
        routes.publish(plane.database, Contended())


def test_deleted_domain_leaves_the_document(plane) -> None:
    plane.domain()
    routes.publish(plane.database, plane.store)

    plane.client.delete("/v1/domains/foggy-cams")

    assert routes.read(plane.store)["domains"] == {}


def _shards(plane) -> dict[str, dict]:
    return json.loads(plane.store.get(store_paths.ROUTES))["shards"]


def test_a_change_writes_the_shard_of_its_domain_alone(plane) -> None:
    for number in range(6):
        plane.version(plane.domain(f"cams-{number}"))
    before, written = _shards(plane), []
    put = plane.store.put
    plane.store.put = lambda key, *args, **options: (written.append(key), put(key, *args, **options))[1]

    plane.client.post("/v1/domains/cams-3/versions/1:promote")

    after = _shards(plane)
    moved = [name for name in after if after[name] != before[name]]
    assert len(moved) == 1
    assert written == [after[moved[0]]["key"], store_paths.ROUTES]
    assert after[moved[0]]["previous"] == before[moved[0]]["key"]
    assert routes.read(plane.store)["domains"]["acme/cams-3"]["version"] == 1


def test_shards_that_no_document_names_any_more_are_deleted(plane) -> None:
    plane.version(plane.domain())
    for number in range(6):
        plane.clock.forward(1)
        plane.client.post(PROMOTE if number % 2 == 0 else "/v1/domains/foggy-cams:rollback")

    kept = {item.key for item in plane.store.list(f"{store_paths.ROUTE_SHARDS}/")}
    (shard,) = _shards(plane).values()
    assert kept == {shard["key"], shard["previous"]}


def test_two_changes_of_which_the_first_did_not_reach_the_store_are_both_shown(plane, monkeypatch) -> None:
    """The second writer knows nothing of the first: what is behind is told by each shard's generation."""
    for name in ("foggy-cams", "rainy-cams"):
        plane.version(plane.domain(name))
    with monkeypatch.context() as away:
        away.setattr(routes, "publish", lambda *_: (_ for _ in ()).throw(StoreDown("gone")))
        assert plane.client.post(PROMOTE).status_code == 200

    plane.client.post("/v1/domains/rainy-cams/versions/1:promote")

    shown = routes.read(plane.store)["domains"]
    assert [shown[f"acme/{name}"]["version"] for name in ("foggy-cams", "rainy-cams")] == [1, 1]


@pytest.mark.parametrize("damage", [b"[", None])
def test_a_damaged_or_missing_shard_is_found_and_written_again(plane, damage: bytes | None) -> None:
    plane.domain()
    routes.publish(plane.database, plane.store)
    (shard,) = _shards(plane).values()
    if damage is None:
        plane.store.delete(shard["key"])
    else:
        plane.store.put(shard["key"], damage)
    found = [
        finding
        for finding in fsck.check(plane.database, plane.store, now=plane.clock())
        if finding.kind is fsck.Kind.ROUTES_BEHIND
    ]
    assert found

    fsck.mend(plane.database, plane.store, found)

    with plane.database.read() as state:
        assert routes.render(state) == routes.read(plane.store)


def test_a_document_of_an_older_release_is_replaced(plane) -> None:
    plane.domain()
    old = routes.read(plane.store)
    plane.store.put(store_paths.ROUTES, json.dumps(old).encode())

    routes.publish(plane.database, plane.store)

    assert set(routes.read(plane.store)["domains"]) == {"acme/foggy-cams"}
    assert len(_shards(plane)) == 1
