"""Waiting for a store that is away: nothing twice, nothing lost, and no waiting for an answer that is final."""

from __future__ import annotations

import pytest

from udair_jobs.storage import AccessDenied, PatientStorage, StorageUnavailable, open_storage


class Flaky:
    """A real folder that is unavailable for the first `failures` calls, and breaks off its first listing."""

    def __init__(self, store, failures=1, error=StorageUnavailable, listed_before=None):
        self._store, self.failures, self._error = store, failures, error
        self._listed_before = listed_before
        self.uri = store.uri
        self.calls = 0

    def get(self, key, **options):
        self.calls += 1
        if self.calls <= self.failures:
            raise self._error(key, "fails.")
        return self._store.get(key, **options)

    def list(self, prefix=""):
        for number, item in enumerate(self._store.list(prefix)):
            if number == self._listed_before:
                self._listed_before = None
                raise self._error(self.uri, "fails.")
            yield item


@pytest.fixture
def folder(tmp_path):
    store = open_storage(str(tmp_path))
    for key in ("a", "b.txt", "b/1", "ü", "日本"):
        store.put(key, key.encode())
    return store


def test_a_call_is_repeated_until_the_store_answers(folder):
    flaky = Flaky(folder, failures=2)
    assert PatientStorage(flaky, patience_s=30).get("a") == b"a"
    assert flaky.calls == 3


def test_without_patience_the_first_failure_is_the_answer(folder):
    flaky = Flaky(folder)
    with pytest.raises(StorageUnavailable):
        PatientStorage(flaky, patience_s=0).get("a")
    assert flaky.calls == 1


def test_patience_ends(folder):
    flaky = Flaky(folder, failures=10**9)
    with pytest.raises(StorageUnavailable):
        PatientStorage(flaky, patience_s=0.3).get("a")
    assert flaky.calls > 1


def test_a_refusal_is_not_waited_for(folder):
    flaky = Flaky(folder, error=AccessDenied)
    with pytest.raises(AccessDenied):
        PatientStorage(flaky, patience_s=30).get("a")
    assert flaky.calls == 1


@pytest.mark.parametrize("before", range(5))
def test_a_listing_that_breaks_off_goes_on_behind_the_last_key(folder, before):
    patient = PatientStorage(Flaky(folder, listed_before=before), patience_s=30)
    assert list(patient.list()) == list(folder.list())


def test_deeper_stores_are_as_patient(folder):
    patient = PatientStorage(folder, patience_s=30)
    assert patient.at("b").get("1") == b"b/1"
    assert isinstance(patient.at("b"), PatientStorage)
