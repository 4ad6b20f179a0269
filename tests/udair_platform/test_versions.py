"""A candidate becomes a version only if every file is what its manifest says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from udair.adaptation.gate import Evidence
from udair_jobs.published.candidates import publish_candidate
from udair_jobs.storage import Storage, open_storage
from udair_platform.entities.version import VersionState
from udair_platform.errors import CandidateInvalid, NotFound
from udair_platform.services import versions

BASE_DIGEST = "b" * 64


@pytest.fixture
def candidate(tmp_path, evidence: dict[str, Evidence]) -> Storage:
    storage = open_storage(str(tmp_path / "candidate"))
    files = {
        "adapter.safetensors": b"weights",
        "evidence.json": json.dumps(evidence["PASSED"].to_dict()).encode(),
        "metrics.json": b'{"loss": 0.5}',
    }
    publish_candidate(storage, files, base_digest=BASE_DIGEST, code_version="0.1.0")
    return storage


def test_whole_candidate_is_believed(candidate: Storage, evidence: dict[str, Evidence]) -> None:
    found = versions.verify(candidate, base_digest=BASE_DIGEST)

    assert found.evidence == evidence["PASSED"]
    assert found.metrics == {"loss": 0.5}


@pytest.mark.parametrize("name", ["adapter.safetensors", "evidence.json", "MANIFEST.json"])
def test_missing_file_is_refused(candidate: Storage, name: str) -> None:
    candidate.delete(name)
    with pytest.raises(CandidateInvalid):
        versions.verify(candidate, base_digest=BASE_DIGEST)


@pytest.mark.parametrize("name", ["adapter.safetensors", "evidence.json"])
def test_altered_file_is_refused(candidate: Storage, name: str) -> None:
    candidate.put(name, candidate.get(name) + b" ")
    with pytest.raises(CandidateInvalid, match="altered"):
        versions.verify(candidate, base_digest=BASE_DIGEST)


def test_another_base_model_is_refused(candidate: Storage) -> None:
    with pytest.raises(CandidateInvalid, match="was made for base model"):
        versions.verify(candidate, base_digest="c" * 64)


def test_candidate_without_evidence_is_refused(tmp_path) -> None:
    storage = open_storage(str(tmp_path / "bare"))
    publish_candidate(storage, {"adapter.safetensors": b"w"}, base_digest=BASE_DIGEST, code_version="0")
    with pytest.raises(CandidateInvalid, match=r"no evidence\.json"):
        versions.verify(storage, base_digest=BASE_DIGEST)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        ("PASSED", VersionState.ACTIVE),
        ("FAILED", VersionState.REJECTED),
        ("INCONCLUSIVE", VersionState.PENDING_APPROVAL),
    ],
)
def test_verdict_decides_the_state_and_is_kept(plane, evidence, verdict: str, state: VersionState) -> None:
    domain = plane.domain()
    number = plane.version(domain, evidence[verdict])

    with plane.database.read() as db:
        version = db.versions.get("acme", domain.id, number)
        candidate = db.aliases.find("acme", domain.id, "candidate")
    assert (version.state, version.verdict) == (state, verdict)
    assert version.gate is not None
    assert version.gate["rules"]["policy"] == "standard"
    assert (candidate is None) == (verdict == "FAILED")


def test_numbers_are_counted_per_domain(plane) -> None:
    foggy, rainy = plane.domain("foggy-cams"), plane.domain("rainy-cams")

    assert [plane.version(d) for d in (foggy, foggy, rainy, foggy)] == [1, 2, 1, 3]


def test_recording_a_job_again_returns_the_same_version(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    with plane.database.read() as state:
        job = state.jobs.page("acme")[0]
    files = plane.store.at(f"t/acme/d/{domain.name}/jobs/{job.id}/attempts/1/candidate")
    candidate = versions.verify(files, base_digest=BASE_DIGEST)

    with plane.change() as tx:
        again = versions.record(tx, domain, job, candidate)
        assert again.number == 1
        assert len(tx.state.versions.page("acme", domain.id)) == 1


def test_rules_of_the_moment_are_applied(plane) -> None:
    domain = plane.domain()
    reply = plane.client.patch("/v1/domains/foggy-cams", json={"gate": {"limits": {"min_matched_gain_db": 9.0}}})
    assert reply.status_code == 200

    plane.version(replace(domain))

    assert plane.client.get("/v1/domains/foggy-cams/versions/1").json()["verdict"] == "FAILED"


def test_versions_are_found_by_number_and_alias(plane) -> None:
    domain = plane.domain()
    plane.version(domain)
    with plane.database.read() as state:
        assert versions.resolve(state, domain, "1") == 1
        assert versions.resolve(state, domain, "@candidate") == 1
        assert versions.resolve(state, domain, "champion") == 0
        for text in ("2", "@none", "", "1.0", "-1", "٣"):
            with pytest.raises(NotFound):
                versions.resolve(state, domain, text)
