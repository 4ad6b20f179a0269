"""A domain's good pictures: pinned like its own images, judged in words, and handed to the adaptation."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from udair.adaptation import recipe
from udair.config import RecipeConfig
from udair.data.images import decode
from udair_jobs.adapt_domain.job import run
from udair_jobs.adapt_domain.references import fetch_references, manifest_folder
from udair_jobs.errors import JobCancelled, JobError
from udair_jobs.images.snapshots import load_snapshot, take_snapshot
from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import open_storage

QUICK = RecipeConfig(steps=2, batch=2, patch=32, budget_s=30)


@pytest.fixture
def bucket(s3):
    return open_storage(f"s3://{s3.bucket()}", endpoint_url=s3.endpoint_url)


@pytest.fixture
def spec(tmp_path, base_model, bucket, s3):
    """Make a spec of images and references in one bucket; any field may be replaced."""

    def make(**changes) -> AdaptSpec:
        values = {
            "tenant": "acme",
            "domain": "foggy-cams",
            "job_id": "j-1",
            "source_uri": f"{bucket.uri}/cams",
            "source_endpoint_url": s3.endpoint_url,
            "reference_uri": f"{bucket.uri}/clear days",
            "reference_endpoint_url": s3.endpoint_url,
            "base_uri": str(base_model[0]),
            "base_digest": base_model[1],
            "snapshot_id": "s-1",
            "snapshot_uri": str(tmp_path / "snapshot"),
            "output_uri": str(tmp_path / "attempt"),
            "recipe": QUICK,
            "gallery_images": 0,
        }
        return AdaptSpec(**(values | changes))

    return make


@pytest.fixture
def looked_at(bucket, tmp_path):
    """Fetch the references of a spec as a job does, its own images listed and loaded before."""

    def fetch(spec: AdaptSpec, on_progress=lambda share: None):
        target, cams = open_storage(spec.snapshot_uri), bucket.at("cams")
        snapshot = take_snapshot(cams, target, snapshot_id="s-1")
        images = [decode(cams.get(row.key)) for row in snapshot.rows.usable()]
        return fetch_references(spec, target, snapshot, images, on_progress=on_progress, patience_s=0)

    return fetch


def noisy(seed: int, sigma: float, kind: str = "PNG") -> bytes:
    """A smooth picture of 96 x 96 under white noise, `sigma` of 255 levels."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, 96)[:, None, None] + rng.uniform(-20, 20, 3)
    pixels = np.clip(ramp + rng.normal(0, sigma, (96, 96, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def fill(store, count: int, first: int = 0, sigma: float = 2.0) -> None:
    for number in range(first, first + count):
        store.put(f"{number}.png", noisy(number, sigma))


def test_a_job_pins_its_references_and_hands_them_to_the_adaptation(spec, bucket, monkeypatch):
    fill(bucket.at("cams"), 12, sigma=20)
    fill(bucket.at("clear days"), 9, first=100)
    bucket.at("clear days").put("broken.jpg", b"\xff\xd8\xff")
    given = {}

    def seen(*args, **named):
        given.update(named)
        return adapt(*args, **named)

    adapt = recipe.adapt
    monkeypatch.setattr(recipe, "adapt", seen)

    asked = spec(tone="restore", tone_aim=0.45)
    result = run(asked)

    assert result.state == "SUCCEEDED", result.detail
    assert len(given["references"]) == 9
    assert {image.shape for image in given["references"]} == {(96, 96, 3)}
    assert given["tone_aim"] == 0.45
    assert (result.references.images, result.references.skipped) == (9, 1)
    assert f"References: 9 pictures of {asked.reference_uri}." in result.words
    assert f"References: 9 pictures of {asked.reference_uri}." in result.evidence["notes"]
    listed = {item.key: item.reason for item in result.skipped}
    assert listed == {f"{asked.reference_uri}/broken.jpg": "NOT_AN_IMAGE"}

    # What is added later belongs to a later snapshot; another place is pinned beside this one.
    fill(bucket.at("clear days"), 1, first=200)
    fill(bucket.at("last year"), 8, first=300)
    again = run(spec(output_uri=asked.output_uri + "-2", attempt=2))
    assert again.references == result.references
    other = run(spec(output_uri=asked.output_uri + "-3", reference_uri=f"{bucket.uri}/last year"))
    assert other.references.source_uri == f"{bucket.uri}/last year"
    assert load_snapshot(manifest_folder(open_storage(asked.snapshot_uri), asked.reference_uri)) is not None


def test_without_references_nothing_is_looked_for_and_nothing_is_said(spec, bucket, looked_at):
    fill(bucket.at("cams"), 3)
    found = looked_at(spec(reference_uri=None))
    assert (found.images, found.words, found.summary) == ([], (), None)


def test_fewer_than_eight_are_not_used_and_the_report_says_so(spec, bucket, looked_at):
    fill(bucket.at("cams"), 3)
    fill(bucket.at("clear days"), 7, first=100)
    found = looked_at(spec())
    assert found.images == []
    (said,) = found.words
    assert said.startswith(f"References: not used: 7 usable pictures in {bucket.uri}/clear days; expected 8 or more")
    assert found.summary.images == 7


def test_the_domains_own_prefix_is_no_reference(spec, bucket, looked_at):
    fill(bucket.at("cams"), 10)
    found = looked_at(spec(reference_uri=f"{bucket.uri}/cams"))
    assert found.images == []
    assert "10 of 10 pictures" in found.words[0]
    assert "are the domain's own, too" in found.words[0]


def test_the_same_pixels_in_another_file_are_told_and_left_out(spec, bucket, looked_at):
    fill(bucket.at("cams"), 10)
    for number in range(3):
        bucket.at("clear days").put(f"copy {number}.webp", _again(bucket.at("cams").get(f"{number}.png")))
    fill(bucket.at("clear days"), 8, first=100)
    found = looked_at(spec())
    assert len(found.images) == 8
    assert "3 of 11 pictures" in found.words[0]
    assert "left out" in found.words[0]


def _again(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize(("sigma", "said"), [(20.0, True), (2.0, False)])
def test_references_that_are_noisier_than_the_domain_are_used_with_a_warning(spec, bucket, looked_at, sigma, said):
    fill(bucket.at("cams"), 10, sigma=8)
    fill(bucket.at("clear days"), 10, first=100, sigma=sigma)
    found = looked_at(spec())
    assert len(found.images) == 10
    assert any("noisier than the domain's images" in sentence for sentence in found.words) is said


def test_a_place_that_cannot_be_listed_or_is_empty_fails_as_the_sources_does(spec, bucket, looked_at):
    fill(bucket.at("cams"), 3)
    with pytest.raises(JobError, match=r"The references cannot be used: cannot list .*no-such-bucket") as caught:
        looked_at(spec(reference_uri="s3://no-such-bucket-here/clear"))
    assert caught.value.reason == "SOURCE_NOT_FOUND"
    with pytest.raises(JobError, match=r"The references cannot be used: .* holds no object") as caught:
        looked_at(spec())
    assert caught.value.reason == "DATA_EMPTY"


def test_a_job_that_is_cancelled_among_its_references_is_cancelled(spec, bucket, looked_at):
    fill(bucket.at("cams"), 3)
    fill(bucket.at("clear days"), 8, first=100)

    def stop(share: float) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        looked_at(spec(), stop)


@pytest.mark.slow
def test_other_references_and_another_aim_make_other_checkpoints(spec, bucket, tmp_path):
    fill(bucket.at("cams"), 12, sigma=20)
    fill(bucket.at("clear days"), 8, first=100)
    shared = {"checkpoint_uri": str(tmp_path / "checkpoints"), "tone": "restore"}
    made = []
    for number, changes in enumerate(({"reference_uri": None}, {}, {"tone_aim": 0.4})):
        result = run(spec(output_uri=str(tmp_path / f"attempt-{number}"), **shared, **changes))
        assert result.state == "SUCCEEDED", result.detail
        made.append({item.etag for item in open_storage(shared["checkpoint_uri"]).list()})
    assert made[0].isdisjoint(made[1])
    assert made[1].isdisjoint(made[2])


@pytest.mark.parametrize(
    ("tone", "aim", "said"),
    [("keep", 0.4, "expected an aim where tone is 'restore' only"), ("restore", 0.01, "greater than or equal to 0.05")],
)
def test_an_aim_that_cannot_be_is_refused(spec, tone, aim, said):
    with pytest.raises(ValidationError, match=said):
        spec(tone=tone, tone_aim=aim)
