"""A domain's profile is the same whoever looks at it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from processes import kill_first

from udair.bundle import load_bundle
from udair.config import RecipeConfig
from udair_jobs.adapt_domain import embedding_pass
from udair_jobs.adapt_domain.embedding_pass import embed_on_ray, profile_of
from udair_jobs.adapt_domain.job import run
from udair_jobs.images.snapshots import take_snapshot
from udair_jobs.runtime.cancellation import Cancellation
from udair_jobs.specs import AdaptSpec
from udair_jobs.storage import open_storage

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture
def spec(tmp_path, base_model, picture):
    source = open_storage(str(tmp_path / "photos"))
    for number in range(30):
        source.put(f"{number:02}.png", picture(number, size=(60 + 8 * number, 90)))
    return AdaptSpec(
        tenant="acme",
        domain="cams",
        job_id="j",
        source_uri=source.uri,
        base_uri=str(base_model[0]),
        base_digest=base_model[1],
        snapshot_id="s",
        snapshot_uri=str(tmp_path / "snapshot"),
        output_uri=str(tmp_path / "out"),
        embed_workers=2,
        recipe=RecipeConfig(steps=1, batch=2, patch=32),
    )


def _here(spec, rows):
    source = open_storage(spec.source_uri)
    images = [embedding_pass.load_image(source, row, spec.limits) for row in rows]
    return profile_of(load_bundle(Path(spec.base_uri)), images)


def test_many_workers_see_what_one_process_sees_even_when_one_is_killed(spec, monkeypatch):
    monkeypatch.setattr(embedding_pass, "CHUNK", 2)
    rows = take_snapshot(open_storage(spec.source_uri), open_storage(spec.snapshot_uri), snapshot_id="s").split("adapt")
    bundle = load_bundle(Path(spec.base_uri))
    killed = kill_first(b"EmbeddingWorker.embed")
    shares: list[float] = []
    profile, skipped = embed_on_ray(spec, rows, bundle.model.config.codes, Cancellation(), shares.append)
    assert not skipped
    assert killed()
    expected = _here(spec, rows)
    assert profile.images == expected.images == len(rows)
    assert np.allclose(profile.codes_K, expected.codes_K)
    assert (profile.classes_G == expected.classes_G).all()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_changed_since_the_snapshot_is_listed_and_not_seen(spec, picture):
    source = open_storage(spec.source_uri)
    rows = take_snapshot(source, open_storage(spec.snapshot_uri), snapshot_id="s").split("adapt")
    source.put(rows[0].key, picture(99))
    codes = load_bundle(Path(spec.base_uri)).model.config.codes
    profile, skipped = embed_on_ray(spec, rows, codes, Cancellation(), print)
    assert profile.images == len(rows) - 1
    assert [item.key for item in skipped] == [rows[0].key]


def test_the_candidate_brings_the_profile_of_every_image(spec):
    result = run(spec)
    assert result.state == "SUCCEEDED"
    profile = json.loads(open_storage(result.candidate_uri).get("profile.json"))
    assert profile["images"] == result.snapshot.adapt_images
    assert sum(profile["code_shares"]) == pytest.approx(1, abs=1e-3)
    assert len(profile["sample"]) == profile["images"]
    assert sum(profile["class_shares"].values()) == pytest.approx(1, abs=1e-3)
