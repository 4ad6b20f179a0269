import json
import queue

import pytest

from udair_jobs.storage import open_storage
from udair_platform.documents.store_paths import ROUTES
from udair_platform.errors import NotFound, Unavailable
from udair_platform.serving.routing.table import SOURCE, DomainRoute, RoutedShare, Router, Target


def _document(generation: int, version: int = 0, revoked: tuple[str, ...] = ()) -> bytes:
    digest = "a" * 64 if version else None
    return json.dumps(
        {
            "schema_version": 1,
            "generation": generation,
            "base_model": {"name": "udair-test", "digest": "b" * 64, "uri": "packaged:tiny"},
            "domains": {"acme/cams": {"version": version, "adapter_digest": digest, "candidate_uri": "somewhere"}},
            "revoked_keys": list(revoked),
        }
    ).encode()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path):
    return open_storage(str(tmp_path))


def test_a_promotion_is_seen_after_one_poll(store):
    clock = Clock()
    store.put(ROUTES, _document(1))
    router = Router(store, poll_s=1.0, clock=clock)
    assert router.resolve("acme", "cams").champion.version == 0
    store.put(ROUTES, _document(2, version=3))
    assert router.resolve("acme", "cams").champion.version == 0
    clock.now = 1.0
    assert router.resolve("acme", "cams").champion.version == 3


def test_the_last_good_copy_serves_through_a_damaged_document_and_a_lost_store(store):
    clock = Clock()
    store.put(ROUTES, _document(5, version=2))
    router = Router(store, poll_s=1.0, clock=clock)
    router.table()
    for damage in (b"{", b"{}", b"[]"):
        store.put(ROUTES, damage)
        clock.now += 2
        assert router.resolve("acme", "cams").champion.version == 2
    store.delete(ROUTES)
    clock.now += 2
    assert router.resolve("acme", "cams").champion.version == 2


def test_an_older_generation_never_replaces_a_newer_one(store):
    clock = Clock()
    store.put(ROUTES, _document(5, version=2))
    router = Router(store, poll_s=1.0, clock=clock)
    router.table()
    store.put(ROUTES, _document(4, version=1))
    clock.now = 2
    assert router.resolve("acme", "cams").champion.version == 2


def test_unknown_domains_and_missing_routes_are_said(store):
    with pytest.raises(Unavailable, match="no routes yet"):
        Router(store).table()
    store.put(ROUTES, _document(1))
    with pytest.raises(NotFound, match="udair domain list"):
        Router(store).resolve("globex", "cams")


def test_a_restart_while_the_store_is_away_goes_on_with_the_copy_on_disk(store, tmp_path):
    copy = tmp_path / "cache" / "routes.json"
    store.put(ROUTES, _document(7, version=4))
    Router(store, copy=copy).table()
    store.delete(ROUTES)
    assert Router(store, copy=copy).resolve("acme", "cams").champion.version == 4
    copy.write_bytes(b"{")
    with pytest.raises(Unavailable):
        Router(store, copy=copy).table()


def test_a_watched_router_tells_of_changes_and_never_asks_the_store_in_a_request(store):
    store.put(ROUTES, _document(1))
    router, seen = Router(store, poll_s=0.05), queue.Queue()
    router.watch(lambda table: seen.put(table.generation))
    assert seen.get(timeout=10) == 1
    store.put(ROUTES, _document(2, version=3))
    assert seen.get(timeout=10) == 2
    assert router.resolve("acme", "cams").champion.version == 3
    router.close()


def test_a_canary_takes_its_percent_and_the_same_key_the_same_version():
    canary = Target(2, "b" * 64, "there")
    route = DomainRoute(Target(1, "a" * 64, "here"), canary=RoutedShare(canary, 20.0))
    keys = [f"user-{number}" for number in range(2000)]
    chosen = [route.choose(key) for key in keys]
    assert 0.16 < chosen.count(canary) / len(keys) < 0.24
    assert [route.choose(key) for key in keys] == chosen
    assert DomainRoute(canary=RoutedShare(canary, 0.0)).choose("x") == SOURCE
    assert DomainRoute(canary=RoutedShare(canary, 100.0)).choose("x") == canary


def test_a_growing_canary_keeps_the_keys_it_had():
    small, large = (RoutedShare(Target(2), percent) for percent in (10.0, 50.0))
    keys = [str(number) for number in range(500)]
    assert {key for key in keys if small.takes(key)} <= {key for key in keys if large.takes(key)}
