"""Publishing a candidate: all of it or nothing, and every alteration noticed."""

from __future__ import annotations

import hashlib

import pytest

from udair_jobs.errors import CandidateError
from udair_jobs.published.candidates import ADAPTER, MANIFEST, publish_candidate, verify_candidate
from udair_jobs.storage import StorageUnavailable, open_storage

FILES = {ADAPTER: b"weights", "evidence.json": b"{}", "metrics.json": b"{}", "match.json": b"{}"}


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_storage(str(tmp_path / "candidate"))
    server = request.getfixturevalue("s3")
    return open_storage(f"s3://{server.bucket()}/candidate", endpoint_url=server.endpoint_url)


def publish(store, files=None):
    return publish_candidate(store, files or FILES, base_digest="b" * 64, code_version="0.1.0")


class Killed(BaseException):
    """The process died here."""


class Dying:
    """The real store until the `last`-th write, where the process dies."""

    def __init__(self, store, last):
        self._store, self._left = store, last

    def __getattr__(self, name):
        return getattr(self._store, name)

    def put(self, key, data, **options):
        if self._left == 0:
            raise Killed
        self._left -= 1
        return self._store.put(key, data, **options)


def test_a_published_candidate_verifies_and_is_named_by_its_adapter(store):
    manifest = publish(store)
    assert manifest.digest == hashlib.sha256(b"weights").hexdigest()
    assert set(manifest.files) == set(FILES)
    assert verify_candidate(store, base_digest="b" * 64) == manifest


@pytest.mark.parametrize("writes", range(len(FILES) + 1))
def test_a_publication_killed_at_any_write_leaves_no_candidate_and_can_be_repeated(store, writes):
    with pytest.raises(Killed):
        publish(Dying(store, writes))

    assert not store.exists(MANIFEST)
    with pytest.raises(CandidateError, match=r"has no MANIFEST\.json, so its publication did not finish"):
        verify_candidate(store)
    assert publish(store).files[ADAPTER].bytes == 7


def test_a_committed_candidate_is_never_rewritten(store):
    first = publish(store)
    assert publish(store, {ADAPTER: b"other"}) == first
    assert store.get(ADAPTER) == b"weights"


@pytest.mark.parametrize("name", list(FILES))
def test_altered_and_missing_files_are_noticed(store, name):
    publish(store)
    store.put(name, FILES[name][:-1] + b"!")
    with pytest.raises(CandidateError, match="altered after publication"):
        verify_candidate(store)
    store.put(name, FILES[name] + b"longer")
    with pytest.raises(CandidateError, match="Its manifest promises"):
        verify_candidate(store)
    store.delete(name)
    with pytest.raises(CandidateError, match="does not exist"):
        verify_candidate(store)


def test_a_candidate_for_another_base_model_is_refused(store):
    publish(store)
    with pytest.raises(CandidateError, match="was made for base model bbbbbbbbbbbb; expected cccccccccccc"):
        verify_candidate(store, base_digest="c" * 64)


def test_a_manifest_that_is_none_is_refused(store):
    publish(store)
    store.put(MANIFEST, b"{]")
    with pytest.raises(CandidateError, match="is no manifest"):
        verify_candidate(store)


def test_files_without_an_adapter_are_refused(store):
    with pytest.raises(CandidateError, match=r"needs adapter\.safetensors"):
        publish(store, {"metrics.json": b"{}"})


def test_a_store_that_fails_is_not_a_damaged_candidate(store):
    class Away:
        uri = "s3://away"

        def get(self, key, **options):
            raise StorageUnavailable("s3://away/MANIFEST.json", "nothing answers.")

    with pytest.raises(StorageUnavailable):
        verify_candidate(Away())
