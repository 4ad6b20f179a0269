"""Jobs on a store that goes wrong: what is survived, what ends the job, and that it always says why."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

import pytest
from fault_proxy import FaultProxy

from udair.config import RecipeConfig
from udair_jobs.adapt_domain.job import run
from udair_jobs.images.datasets import load_images
from udair_jobs.images.snapshots import MANIFEST, take_snapshot
from udair_jobs.runtime.results import read_result
from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import (
    AccessDenied,
    CredentialsExpired,
    PatientStorage,
    StorageUnavailable,
    TooLarge,
    open_storage,
)

pytestmark = pytest.mark.faults

IMAGES = 6


def is_image(method, path):
    return method == "GET" and ".png" in path


@pytest.fixture
def proxy(s3, monkeypatch):
    # The client's own retries would hide a fault of a few requests; what is tested is what lies above them.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with FaultProxy(s3.endpoint_url).running() as proxy:
        yield proxy


@pytest.fixture
def photos(s3, picture):
    """A prefix with images, as it is without faults."""
    store = open_storage(f"s3://{s3.bucket()}/photos", endpoint_url=s3.endpoint_url)
    for number in range(IMAGES):
        store.put(f"cam {number}.png", picture(number, size=(96, 80)))
    return store


@pytest.fixture
def digest(photos, tmp_path):
    """Of the snapshot that a store without faults gives."""
    return take_snapshot(photos, open_storage(str(tmp_path / "undisturbed")), snapshot_id="s").summary.digest


@pytest.fixture
def target(tmp_path):
    return open_storage(str(tmp_path / "snapshot"))


def through(proxy, store, patience_s=60.0):
    return PatientStorage(open_storage(store.uri, endpoint_url=proxy.endpoint_url), patience_s)


FAULTS = {
    "slow": {"delay_s": 0.3},
    "dropped connections": {"drop": True, "requests": 5},
    "SlowDown": {"status": 503, "code": "SlowDown", "requests": 5},
    "InternalError": {"status": 500, "requests": 5},
    "too many requests": {"status": 429, "code": "TooManyRequests", "requests": 5, "matches": is_image},
    "a proxy's 429": {"status": 429, "code": "", "requests": 5, "matches": is_image},
    "throttling": {"status": 400, "code": "RequestLimitExceeded", "requests": 5, "matches": is_image},
    "cut-off bodies": {"keep_bytes": 100, "requests": 5, "matches": is_image},
    "away for a while": {"drop": True, "seconds": 3.0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_snapshot_and_its_images_are_the_same_in_spite_of(fault, proxy, photos, digest, target):
    source = through(proxy, photos)
    proxy.fail(**FAULTS[fault])
    snapshot = take_snapshot(source, target, snapshot_id="s")
    assert proxy.hit > 0
    assert snapshot.summary.digest == digest
    proxy.clear()
    proxy.fail(**FAULTS[fault])
    loaded = load_images(source, snapshot.rows)
    assert len(loaded.images) == IMAGES
    assert loaded.skipped == []


def test_a_gateway_that_tells_no_etag_time_or_length_is_read_all_the_same(proxy, photos, target):
    proxy.fail(without=("ETag", "LastModified", "Last-Modified", "Content-Length"))
    source = through(proxy, photos)
    snapshot = take_snapshot(source, target, snapshot_id="s")
    assert (snapshot.summary.images, snapshot.summary.skipped) == (IMAGES, 0)
    assert len(load_images(source, snapshot.rows).images) == IMAGES
    assert source.head("cam 3.png").size == len(photos.get("cam 3.png"))
    with pytest.raises(TooLarge, match="expected at most 100"):
        source.get("cam 3.png", max_bytes=100)


def test_an_archived_object_is_listed_with_what_to_do(proxy, photos, target):
    proxy.fail(status=403, code="InvalidObjectState", matches=lambda method, path: "cam%203.png" in path)
    with pytest.raises(AccessDenied, match="archived; restore it from Glacier first"):
        through(proxy, photos).get("cam 3.png")
    summary = take_snapshot(through(proxy, photos), target, snapshot_id="s").summary
    assert (summary.images, summary.skipped) == (IMAGES - 1, 1)


def test_the_clients_own_retries_bridge_a_few_failures(proxy, photos, digest, target, monkeypatch):
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    source = open_storage(photos.uri, endpoint_url=proxy.endpoint_url)
    proxy.fail(status=503, code="SlowDown", requests=2)
    assert take_snapshot(source, target, snapshot_id="s").summary.digest == digest


def test_a_store_that_stays_away_ends_the_snapshot_and_nothing_is_committed(proxy, photos, target):
    source = through(proxy, photos, patience_s=1.0)
    proxy.fail(drop=True, matches=is_image)
    with pytest.raises(StorageUnavailable, match="the connection"):
        take_snapshot(source, target, snapshot_id="s")
    assert not target.exists(MANIFEST)


def test_bodies_that_are_always_cut_off_are_never_taken_for_images(proxy, photos, target):
    proxy.fail(keep_bytes=100, matches=is_image)
    with pytest.raises(StorageUnavailable):
        take_snapshot(through(proxy, photos, patience_s=0.5), target, snapshot_id="s")
    assert not target.exists(MANIFEST)


def test_credentials_that_end_half_way_end_the_snapshot_and_cost_no_image(proxy, photos, digest, target):
    source = through(proxy, photos)
    proxy.fail(status=400, code="ExpiredToken", matches=lambda method, path: "cam%203.png" in path)
    with pytest.raises(CredentialsExpired, match="get new temporary credentials"):
        take_snapshot(source, target, snapshot_id="s")
    assert not target.exists(MANIFEST)
    proxy.clear()
    assert take_snapshot(source, target, snapshot_id="s").summary.digest == digest


@pytest.fixture
def spec(photos, s3, base_model):
    """A job from S3 to S3."""
    store = open_storage(f"s3://{s3.bucket()}/acme", endpoint_url=s3.endpoint_url)
    for path in base_model[0].iterdir():
        store.at("base").put(path.name, path.read_bytes())
    return AdaptSpec(
        tenant="acme",
        domain="cams",
        job_id="j",
        source_uri=photos.uri,
        source_endpoint_url=s3.endpoint_url,
        base_uri=f"{store.uri}/base",
        base_digest=base_model[1],
        snapshot_id="s",
        snapshot_uri=f"{store.uri}/snapshot",
        output_uri=f"{store.uri}/attempt",
        store_endpoint_url=s3.endpoint_url,
        recipe=RecipeConfig(steps=2, batch=2, patch=32, budget_s=30),
    )


def test_a_job_outlasts_the_faults_of_both_stores(proxy, spec, digest):
    faulty = spec.model_copy(
        update={"source_endpoint_url": proxy.endpoint_url, "store_endpoint_url": proxy.endpoint_url}
    )
    proxy.fail(drop=True, seconds=2.0)
    proxy.fail(status=503, code="SlowDown", requests=4)
    proxy.fail(keep_bytes=64, requests=3, matches=is_image)
    proxy.fail(status=500, requests=2, matches=lambda method, path: method == "PUT" and "candidate" in path)
    proxy.fail(drop=True, requests=1, matches=lambda method, path: method == "PUT" and "result.json" in path)

    result = run(faulty)

    assert (result.state, result.detail) == ("SUCCEEDED", "")
    assert result.snapshot.digest == digest
    assert result.skipped == []
    assert read_result(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url)) == result


def test_a_job_whose_credentials_end_says_so(proxy, spec):
    proxy.fail(status=400, code="ExpiredToken", matches=is_image)
    result = run(spec.model_copy(update={"source_endpoint_url": proxy.endpoint_url}))
    assert (result.state, result.reason) == ("FAILED", "ACCESS_DENIED")
    assert "the session has expired" in result.detail


def test_a_full_scratch_disk_is_named(spec, tmp_path):
    document = tmp_path / "spec.json"
    document.write_text(spec.model_dump_json())
    # No file may grow beyond 20 kB: to a writer that is what a full disk is.
    job = subprocess.run(
        [sys.executable, "-m", "udair_jobs.adapt_domain", f"spec={document}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
    )
    assert job.returncode == 5, job.stderr
    result = read_result(open_storage(spec.output_uri, endpoint_url=spec.store_endpoint_url))
    assert result.reason == "CONTROLLER_ERROR"
    assert re.search(r"cannot write its scratch files \(File too large.*free the disk, or set TMPDIR", result.detail)
