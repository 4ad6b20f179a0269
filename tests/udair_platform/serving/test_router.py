import json
import queue

import pytest
from route_document import put_routes

from udair_jobs.storage import open_storage
from udair_platform.documents.store_paths import ROUTES
from udair_platform.errors import NotFound, Unavailable
from udair_platform.serving.routing.router import Router
from udair_platform.serving.routing.table import SOURCE, DomainRoute, RoutedShare, Target


def _write(store, generation: int, version: int = 0, revoked: tuple[str, ...] = (), **others: int) -> None:
    """One domain in one shard; `others` are further domains of versions, each in a shard of its own."""

    def entry(version: int) -> dict:
        return {"version": version, "adapter_digest": "a" * 64 if version else None, "candidate_uri": "somewhere"}

    document = {
        "generation": generation,
        "base_model": {"name": "udair-test", "digest": "b" * 64, "uri": "packaged:tiny"},
        "revoked_keys": list(revoked),
    }
    shards = {"d-00": {"acme/cams": entry(version)}}
    put_routes(store, document, shards | {f"d-{name}": {f"acme/{name}": entry(v)} for name, v in others.items()})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path):
    return open_storage(str(tmp_path))


def test_a_promotion_is_seen_after_one_poll(store):
    clock = Clock()
    _write(store, 1)
    router = Router(store, poll_s=1.0, clock=clock)
    assert router.resolve("acme", "cams").champion.version == 0
    _write(store, 2, version=3)
    assert router.resolve("acme", "cams").champion.version == 0
    clock.now = 1.0
    assert router.resolve("acme", "cams").champion.version == 3


def test_the_last_good_copy_serves_through_a_damaged_document_and_a_lost_store(store):
    clock = Clock()
    _write(store, 5, version=2)
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
    _write(store, 5, version=2)
    router = Router(store, poll_s=1.0, clock=clock)
    router.table()
    _write(store, 4, version=1)
    clock.now = 2
    assert router.resolve("acme", "cams").champion.version == 2


def test_unknown_domains_and_missing_routes_are_said(store):
    with pytest.raises(Unavailable, match="no routes yet"):
        Router(store).table()
    _write(store, 1)
    with pytest.raises(NotFound, match="udair domain list"):
        Router(store).resolve("globex", "cams")


def test_a_restart_while_the_store_is_away_goes_on_with_the_copy_on_disk(store, tmp_path):
    copy = tmp_path / "cache" / "routes.json"
    _write(store, 7, version=4)
    Router(store, copy=copy).table()
    store.delete(ROUTES)
    assert Router(store, copy=copy).resolve("acme", "cams").champion.version == 4
    copy.write_bytes(b"{")
    with pytest.raises(Unavailable):
        Router(store, copy=copy).table()


def test_a_watched_router_tells_of_changes_and_never_asks_the_store_in_a_request(store):
    _write(store, 1)
    router, seen = Router(store, poll_s=0.05), queue.Queue()
    router.watch(lambda table: seen.put(table.generation))
    assert seen.get(timeout=10) == 1
    _write(store, 2, version=3)
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


def test_of_many_shards_only_those_that_changed_are_read(store):
    class Counting:
        def __init__(self) -> None:
            self.read: list[str] = []

        def __getattr__(self, name):
            return getattr(store, name)

        def get(self, key, **options):
            self.read.append(key)
            return store.get(key, **options)

    _write(store, 1, one=1, two=1, three=1)
    counting = Counting()
    router = Router(counting, poll_s=0.0)
    assert router.resolve("acme", "two").champion.version == 1
    assert len(counting.read) == 5  # the document and its four shards
    document = json.loads(store.get(ROUTES))
    document["generation"] = 2
    changed = b'{"acme/two": {"version": 5, "adapter_digest": null, "candidate_uri": null}}'
    store.put("serving/routes/d-two-2-ffffffffffff.json", changed)
    document["shards"]["d-two"]["key"] = "serving/routes/d-two-2-ffffffffffff.json"
    store.put(ROUTES, json.dumps(document).encode())
    counting.read.clear()

    assert router.resolve("acme", "two").champion.version == 5
    assert router.resolve("acme", "three").champion.version == 1
    assert counting.read == [ROUTES, "serving/routes/d-two-2-ffffffffffff.json"]


def test_a_shard_that_went_leaves_the_routes_as_they_were_until_the_next_look(store):
    clock = Clock()
    _write(store, 1, version=1)
    router = Router(store, clock=clock)
    router.table()
    _write(store, 2, version=2)
    key = json.loads(store.get(ROUTES))["shards"]["d-00"]["key"]
    data = store.get(key)
    store.delete(key)
    clock.now += 2
    assert router.resolve("acme", "cams").champion.version == 1
    store.put(key, data)
    clock.now += 2
    assert router.resolve("acme", "cams").champion.version == 2


def test_the_copy_on_disk_holds_the_shards_of_the_last_document_alone(store, tmp_path):
    copy, clock = tmp_path / "cache" / "routes.json", Clock()
    _write(store, 1, version=1, one=1)
    router = Router(store, copy=copy, clock=clock)
    router.table()
    _write(store, 2, version=2)
    clock.now += 2
    router.table()
    assert [path.name for path in (tmp_path / "cache" / "routes").iterdir()] == ["d-00-2-000000000000.json"]
    (tmp_path / "cache" / "routes" / "d-00-2-000000000000.json").write_bytes(b"[")
    store.delete(ROUTES)
    with pytest.raises(Unavailable):
        Router(store, copy=copy).table()
