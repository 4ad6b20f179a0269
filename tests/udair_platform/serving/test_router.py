import json

import pytest

from udair_jobs.storage import open_storage
from udair_platform.errors import NotFound, Unavailable
from udair_platform.registry.layout import ROUTES
from udair_platform.serving.router import Router


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
    assert router.resolve("acme", "cams").version == 0
    store.put(ROUTES, _document(2, version=3))
    assert router.resolve("acme", "cams").version == 0
    clock.now = 1.0
    assert router.resolve("acme", "cams").version == 3


def test_the_last_good_copy_serves_through_a_damaged_document_and_a_lost_store(store):
    clock = Clock()
    store.put(ROUTES, _document(5, version=2))
    router = Router(store, poll_s=1.0, clock=clock)
    router.table()
    for damage in (b"{", b"{}", b"[]"):
        store.put(ROUTES, damage)
        clock.now += 2
        assert router.resolve("acme", "cams").version == 2
    store.delete(ROUTES)
    clock.now += 2
    assert router.resolve("acme", "cams").version == 2


def test_an_older_generation_never_replaces_a_newer_one(store):
    clock = Clock()
    store.put(ROUTES, _document(5, version=2))
    router = Router(store, poll_s=1.0, clock=clock)
    router.table()
    store.put(ROUTES, _document(4, version=1))
    clock.now = 2
    assert router.resolve("acme", "cams").version == 2


def test_unknown_domains_and_missing_routes_are_said(store):
    with pytest.raises(Unavailable, match="no routes yet"):
        Router(store).table()
    store.put(ROUTES, _document(1))
    with pytest.raises(NotFound, match="udair domain list"):
        Router(store).resolve("globex", "cams")
