"""The adaptation job as one call: a result for every ending, and the same result when it runs twice."""

from __future__ import annotations

import json
import shutil

import pytest
from heartbeats import read_progress
from pydantic import ValidationError

from udair.adaptation import recipe
from udair.adaptation.adapter import adapter_from_bytes
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.config import RecipeConfig
from udair.data.images import decode
from udair.errors import AdaptationError, BundleError
from udair_jobs.adapt_domain import gallery
from udair_jobs.adapt_domain.job import run
from udair_jobs.errors import CandidateError
from udair_jobs.images.snapshots import take_snapshot
from udair_jobs.published.candidates import ADAPTER, MANIFEST, verify_candidate
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.runtime.failures import explain
from udair_jobs.runtime.results import RESULT, read_result
from udair_jobs.specs import AdaptSpec, LimitsSpec
from udair_jobs.storage import StorageUnavailable, open_storage

QUICK = RecipeConfig(steps=2, batch=2, patch=32, budget_s=30)


@pytest.fixture
def source(tmp_path):
    return open_storage(str(tmp_path / "photos"))


@pytest.fixture
def spec(tmp_path, base_model):
    """Make a spec that reads and writes folders; any field may be replaced."""

    def make(**changes) -> AdaptSpec:
        folder, digest = base_model
        values = {
            "tenant": "acme",
            "domain": "foggy-cams",
            "job_id": "j-1",
            "source_uri": str(tmp_path / "photos"),
            "base_uri": str(folder),
            "base_digest": digest,
            "snapshot_id": "s-1",
            "snapshot_uri": str(tmp_path / "snapshot"),
            "output_uri": str(tmp_path / "attempt"),
            "recipe": QUICK,
            "gallery_images": 1,
        }
        return AdaptSpec(**(values | changes))

    return make


def fill(source, picture, count=6, size=(96, 80)):
    for number in range(count):
        source.put(f"cam {number}.png", picture(number, size=size))


def assert_failed(result, reason, text, spec):
    assert (result.state, result.reason) == ("FAILED", reason), result.detail
    assert text in result.detail
    output = open_storage(spec.output_uri)
    assert read_result(output) == result
    assert not output.exists(f"candidate/{MANIFEST}")


@pytest.fixture(scope="module")
def finished(s3, base_model, picture):
    """One job from S3 to S3: a text file among the images, and one image replaced since the snapshot."""
    customer, platform = s3.bucket(), s3.bucket()
    source = open_storage(f"s3://{customer}/my cams", endpoint_url=s3.endpoint_url)
    store = open_storage(f"s3://{platform}/t/acme", endpoint_url=s3.endpoint_url)
    fill(source, picture, size=(200, 80))
    source.put("notes.txt", b"hello")
    take_snapshot(source, store.at("snapshots/s-1"), snapshot_id="s-1")
    source.put("cam 1.png", picture(77))
    for path in base_model[0].iterdir():
        store.at("base").put(path.name, path.read_bytes())
    job = AdaptSpec(
        tenant="acme",
        domain="foggy-cams",
        job_id="j-1",
        source_uri=source.uri,
        source_endpoint_url=s3.endpoint_url,
        base_uri=f"{store.uri}/base",
        base_digest=base_model[1],
        snapshot_id="s-1",
        snapshot_uri=f"{store.uri}/snapshots/s-1",
        output_uri=f"{store.uri}/jobs/j-1/attempts/1",
        store_endpoint_url=s3.endpoint_url,
        recipe=QUICK,
        limits=LimitsSpec(max_side=96),
    )
    return job, run(job), store.at("jobs/j-1/attempts/1")


def test_a_prefix_of_images_becomes_a_verified_candidate(finished):
    job, result, output = finished
    candidate = output.at("candidate")

    assert (result.state, result.reason) == ("SUCCEEDED", None), result.detail
    assert result.candidate_uri == candidate.uri
    assert verify_candidate(candidate, base_digest=job.base_digest) == result.manifest
    documents = {name for name in result.manifest.files if not name.endswith(".webp")}
    assert documents == {
        ADAPTER,
        "base.json",
        "evidence.json",
        "metrics.json",
        "match.json",
        "profile.json",
        "gallery.json",
    }
    looked_at = json.loads(candidate.get("base.json"))
    assert (looked_at["tone"], looked_at["images"] > 0, result.base_loses) == ("keep", True, "")
    assert adapter_from_bytes(candidate.get(ADAPTER), job.base_digest).base_digest == job.base_digest
    assert read_result(output) == result


def test_of_fewer_images_than_are_needed_no_adapter_is_made_and_nobody_is_asked(finished):
    evidence = Evidence.from_dict(finished[1].evidence)
    assert evidence.target_images == 5
    assert judge(evidence, GatePolicy()).verdict == "NOT_NEEDED"
    assert "of its pictures 5 can be used, and 8 are needed" in finished[1].words[0]


def test_what_was_refused_and_what_changed_since_the_snapshot_is_listed(finished):
    result = finished[1]
    assert result.snapshot.images == 6
    assert {item.key: item.reason for item in result.skipped} == {
        "notes.txt": "NOT_AN_IMAGE",
        "cam 1.png": "CHANGED",
    }


def test_the_phases_and_the_last_heartbeat_tell_how_it_went(finished):
    _, result, output = finished
    phases = [record.phase for record in result.phases]
    assert phases[:2] == ["VALIDATING", "FETCHING"]
    assert phases[-1] == "EXPORTING"
    assert sum(record.seconds for record in result.phases) <= result.seconds
    assert read_progress(output).progress_percent > 90


def test_result_and_evidence_are_plain_json(finished):
    for name in (RESULT, "candidate/evidence.json", "candidate/metrics.json", "candidate/match.json"):
        json.loads(finished[2].get(name), parse_constant=pytest.fail)  # called for NaN and infinity


def test_an_attempt_that_has_a_result_returns_it_and_does_nothing(finished):
    job, result, output = finished
    before = {item.key: item.etag for item in output.list()}
    assert run(job) == result
    assert {item.key: item.etag for item in output.list()} == before


def test_an_attempt_killed_between_candidate_and_result_ends_with_that_candidate(finished):
    job, first, output = finished
    output.delete(RESULT)

    second = run(job)

    assert second.state == "SUCCEEDED"
    assert (second.manifest, second.evidence) == (first.manifest, first.evidence)
    assert second.snapshot == first.snapshot


def test_a_few_of_the_domains_own_images_are_shown_before_and_after(spec, source, picture, tmp_path):
    fill(source, picture, count=6, size=(400, 390))
    asked = spec(gallery_images=2)
    result = run(asked)
    assert result.state == "SUCCEEDED", result.detail
    first = open_storage(asked.output_uri).at("candidate")
    verify_candidate(first, base_digest=asked.base_digest)
    index = json.loads(first.get(gallery.INDEX))["images"]
    assert 1 <= len(index) <= 2
    held_out = {row["key"] for row in index}
    assert held_out <= {f"cam {number}.png" for number in range(6)}
    for item in index:
        assert (item["width"], item["height"]) == (gallery.SIDE, gallery.SIDE)
        assert set(item["files"]) == {"camera", "source", "adapted", "other"}
        for name in item["files"].values():
            assert decode(first.get(name)).shape == (gallery.SIDE, gallery.SIDE, 3)
    rises = [item["niqe_rise"] for item in index if item["niqe_rise"] is not None]
    assert rises == sorted(rises, reverse=True), "worst first"

    again = spec(gallery_images=2, champion_uri=first.uri, output_uri=str(tmp_path / "second"), attempt=2, job_id="j-2")
    assert run(again).state == "SUCCEEDED"
    second = open_storage(again.output_uri).at("candidate")
    assert all("previous" in item["files"] for item in json.loads(second.get(gallery.INDEX))["images"])


def test_no_image_leaves_the_customers_bucket_where_that_is_not_wanted(spec, source, picture):
    fill(source, picture)
    asked = spec(gallery_images=0)
    assert run(asked).state == "SUCCEEDED"
    names = {item.key for item in open_storage(asked.output_uri).at("candidate").list()}
    assert not any(name.endswith(".webp") for name in names)


def test_a_single_image_succeeds_and_changes_nothing(spec, source, picture):
    fill(source, picture, count=1)
    result = run(spec())
    assert result.state == "SUCCEEDED", result.detail
    assert (result.snapshot.adapt_images, result.snapshot.gate_images) == (1, 0)
    assert judge(Evidence.from_dict(result.evidence), GatePolicy()).verdict == "NOT_NEEDED"


def test_the_adaptation_is_given_the_quantisation_table_of_each_image(spec, source, picture, monkeypatch):
    for number in range(6):
        source.put(f"{number}.jpg", picture(number, size=(96, 80), kind="JPEG"))
    fill(source, picture, count=4)
    given = {}

    def seen(bundle, images, *args, **named):
        given.update(images=images, tables=named["jpeg_tables"])
        raise AdaptationError("NAN_LOSS", "seen enough")

    monkeypatch.setattr(recipe, "adapt", seen)
    assert run(spec()).detail == "seen enough"
    assert len(given["tables"]) == len(given["images"]) > 0
    assert {type(table) for table in given["tables"]} == {bytes, type(None)}


def test_an_empty_prefix_fails_with_data_empty(spec):
    job = spec()
    assert_failed(run(job), "DATA_EMPTY", "holds no object", job)


def test_a_prefix_of_non_images_fails_and_lists_them(spec, source):
    source.put("a.txt", b"hello")
    job = spec()
    result = run(job)
    assert_failed(result, "DATA_UNREADABLE", "1 NOT_AN_IMAGE", job)
    assert [item.key for item in result.skipped] == ["a.txt"]


def test_a_missing_bucket_fails_with_access_denied(spec, s3):
    job = spec(source_uri="s3://no-such-bucket-here/cams", source_endpoint_url=s3.endpoint_url)
    assert_failed(run(job), "SOURCE_NOT_FOUND", "bucket 'no-such-bucket-here' does not exist", job)


def test_wrong_credentials_fail_with_access_denied_and_do_not_leak(spec, strict_s3, monkeypatch):
    access_key, secret = strict_s3.refused_as("SignatureDoesNotMatch")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    job = spec(source_uri="s3://guarded/cams", source_endpoint_url=strict_s3.endpoint_url)
    result = run(job)
    assert_failed(result, "ACCESS_DENIED", "AWS_SECRET_ACCESS_KEY", job)
    assert secret not in result.model_dump_json()


def test_a_base_model_with_another_digest_is_refused_naming_both(spec, source, picture, base_model):
    fill(source, picture, count=2)
    job = spec(base_digest="f" * 64)
    result = run(job)
    assert_failed(result, "INVALID_SPEC", f"has digest {base_model[1]}; the job was made for {'f' * 64}", job)


def test_a_base_model_whose_weights_were_altered_is_refused(spec, source, picture, base_model, tmp_path):
    fill(source, picture, count=2)
    altered = tmp_path / "altered"
    shutil.copytree(base_model[0], altered)
    (weights,) = altered.glob("model*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    job = spec(base_uri=str(altered))
    assert_failed(run(job), "INVALID_SPEC", "does not match its manifest", job)


@pytest.mark.parametrize(
    ("base_uri", "text"),
    [("packaged:nope", "no shipped base model is called 'nope'"), ("/no/such/folder", "has no bundle.json")],
)
def test_a_base_model_that_is_not_there_is_an_invalid_spec(spec, base_uri, text):
    job = spec(base_uri=base_uri)
    assert_failed(run(job), "INVALID_SPEC", text, job)


def test_a_snapshot_of_which_nothing_is_left_is_data_unreadable(spec, source, picture, tmp_path):
    fill(source, picture)
    take_snapshot(source, open_storage(str(tmp_path / "snapshot")), snapshot_id="s-1")
    for item in list(source.list()):
        source.delete(item.key)
    job = spec()
    assert_failed(run(job), "DATA_UNREADABLE", "Take a new snapshot", job)


def test_a_recipe_out_of_range_is_an_invalid_spec(spec):
    text = json.dumps(spec().model_dump(mode="json") | {"recipe": {"patch": 40}})
    with pytest.raises(ValidationError, match=r"recipe\.patch\s.*multiple of 16"):
        AdaptSpec.model_validate_json(text)


def test_a_cancelled_job_leaves_a_result_and_no_candidate(spec, source, picture):
    fill(source, picture, count=2)
    cancellation = Cancellation()
    cancellation.request()
    job = spec()
    result = run(job, cancellation=cancellation)
    assert_failed(result, "USER_CANCELLED", "asked to stop", job)


def test_a_source_that_does_not_answer_is_worth_a_retry(spec, s3, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    job = spec(source_uri="s3://bucket/cams", source_endpoint_url="http://127.0.0.1:9")
    assert_failed(run(job, patience_s=0), "CONTROLLER_ERROR", "nothing answers at http://127.0.0.1:9", job)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AdaptationError("NAN_LOSS", "x"), "NAN_LOSS"),
        (BundleError("x"), "INVALID_SPEC"),
        (CandidateError("x"), "CONTROLLER_ERROR"),
        (StorageUnavailable("s3://b", "x"), "CONTROLLER_ERROR"),
        (MemoryError("x"), "OOM"),
        (RuntimeError("CUDA error: an illegal memory access"), "GPU_FAULT"),
        (ZeroDivisionError("x"), "CONTROLLER_ERROR"),
    ],
)
def test_every_failure_has_a_reason(error, reason):
    assert explain(error)[0] == reason
