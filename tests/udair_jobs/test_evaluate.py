"""Restorations compared, with the truth and without: what is left out, what counts as harm, what would be served."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from udair.adaptation.adapter import Adapter, adapter_to_bytes, identity_adapter
from udair.bundle import load_bundle
from udair.data.patches import to_array, to_tensor
from udair.data.scenes import dead_leaves
from udair.inference import restore
from udair.metrics import psnr_db
from udair_jobs.errors import JobError
from udair_jobs.evaluate.__main__ import main
from udair_jobs.evaluate.job import evaluate
from udair_jobs.evaluate.specs import EvaluateSpec
from udair_jobs.published.candidates import publish_candidate
from udair_jobs.storage import open_storage


def png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path, base_model, s3):
    """On S3, five noisy pictures in nested folders, four of them with a clean version, and a spec for them."""
    bucket = s3.bucket()
    source, clean = (open_storage(f"s3://{bucket}/{name}", endpoint_url=s3.endpoint_url) for name in ("in", "truth"))
    rng = np.random.default_rng(0)
    for number, scene in enumerate(dead_leaves(5, 96, seed=9)):
        noisy = np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)
        source.put(f"a/{number}.png", png(noisy))
        if number != 4:
            clean.put(f"a/{number}.bmp" if number == 1 else f"a/{number}.png", png(scene))
    clean.put("a/0.json", b"{}")
    spec = EvaluateSpec.model_validate(
        {
            "sets": {"noise": {"source_uri": source.uri, "clean_uri": clean.uri}},
            "source_endpoint_url": s3.endpoint_url,
            "base_uri": str(base_model[0]),
            "output_uri": str(tmp_path / "out"),
        }
    )
    return source, clean, spec


def test_scores_are_those_of_the_restored_files(place):
    source, clean, spec = place
    result = evaluate(spec)
    score = result.sets["noise"]
    assert (score.images, score.skipped) == (4, 1)
    assert [(item.key, item.reason) for item in result.skipped] == [("a/4.png", "NO_LABEL")]
    assert {"input", "keep", "restore", "served"} <= set(score.columns)
    assert "adapted" not in score.columns
    assert (score.base, score.served_as) == ("keep", "base model")
    model = load_bundle(Path(spec.base_uri)).model
    expected = []
    for number in range(4):
        noisy, scene = (
            np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            for data in (
                source.get(f"a/{number}.png"),
                clean.get(f"a/{number}.bmp" if number == 1 else f"a/{number}.png"),
            )
        )
        restored = to_array(restore(model, to_tensor([noisy])[0]))
        expected.append(float(psnr_db(to_tensor([restored]), to_tensor([scene]))[0]))
    assert score.columns["keep"].psnr_db == pytest.approx(np.mean(expected), abs=1e-3)
    rows = pq.read_table(io.BytesIO(open_storage(spec.output_uri).get("scores.parquet"))).to_pylist()
    assert [row["keep_psnr_db"] for row in rows] == pytest.approx(expected, abs=1e-3)


def test_a_harmful_adapter_harms_every_image(place, tmp_path):
    _, _, spec = place
    bundle = load_bundle(Path(spec.base_uri))
    row = identity_adapter(bundle.model, bundle.digest).row
    dark = replace(row, affine_B6=row.affine_B6 + torch.tensor([[0.0, 0.0, 0.0, -0.3, -0.3, -0.3]]))
    folder = open_storage(str(tmp_path / "adapter"))
    data = adapter_to_bytes(Adapter(bundle.digest, dark))
    manifest = publish_candidate(folder, {"adapter.safetensors": data}, base_digest=bundle.digest, code_version="test")
    result = evaluate(spec.model_copy(update={"adapter_uri": folder.uri}))
    score = result.sets["noise"]
    assert result.adapter_digest == manifest.digest
    adapted, base = score.columns["adapted"], score.columns["keep"]
    assert adapted.harmed_vs_base_share == 1.0
    assert adapted.gain_low_db < adapted.gain_db < -1
    assert adapted.gain_db == pytest.approx(adapted.psnr_db - base.psnr_db, abs=1e-6)
    # No evidence was published beside it: it is not served.
    assert score.served_as == "base model"
    assert score.columns["served"] == base


def test_test_time_adaptation_is_scored_as_an_adapter_is(place):
    _, _, spec = place
    tuned = spec.model_validate(spec.model_dump() | {"test_time": {"method": "alignment", "steps": 2, "crop": 32}})
    assert evaluate(tuned).sets["noise"].columns["adapted"].gain_db is not None


def test_a_clean_version_of_another_size_is_listed(place):
    _, clean, spec = place
    clean.put("a/2.png", png(np.zeros((50, 60, 3), np.uint8)))
    result = evaluate(spec)
    assert {item.key: item.reason for item in result.skipped}["a/2.png"] == "OTHER_SIZE"
    assert "96 x 96 and its clean version 60 x 50" in str(result.skipped)


def test_a_set_without_labels_is_refused(place):
    source, clean, spec = place
    empty = {"sets": {"noise": {"source_uri": source.uri, "clean_uri": f"{clean.uri}-of-nothing"}}}
    with pytest.raises(JobError, match="none of 5 images") as refused:
        evaluate(EvaluateSpec.model_validate(spec.model_dump() | empty))
    assert refused.value.reason == "DATA_EMPTY"


def test_the_command_line_prints_a_table(place, capsys):
    source, clean, spec = place
    given = [
        f"source_endpoint_url={spec.source_endpoint_url}",
        f"base_uri={spec.base_uri}",
        f"output_uri={spec.output_uri}",
    ]
    sets = [f"+sets.noise.source_uri={source.uri}", f"+sets.noise.clean_uri={clean.uri}"]
    assert main([*given, *sets, "test_time.steps=1", "test_time.crop=32"]) == 0
    out = capsys.readouterr().out
    assert "noise: 4 pictures, 1 skipped" in out
    assert "served: base model" in out
    assert "1 skipped" in out
    assert main(given) == 2
    assert "sets" in capsys.readouterr().err


def test_another_place_is_not_scored_under_an_old_snapshot(place):
    source, clean, spec = place
    evaluate(spec)
    moved = {"sets": {"noise": {"source_uri": f"{source.uri}/a", "clean_uri": clean.uri}}}
    with pytest.raises(JobError, match="holds set noise of") as refused:
        evaluate(EvaluateSpec.model_validate(spec.model_dump() | moved))
    assert refused.value.reason == "INVALID_SPEC"


def test_a_damaged_base_model_is_said_and_not_a_traceback(place, tmp_path, capsys):
    source, clean, spec = place
    damaged = tmp_path / "damaged"
    shutil.copytree(spec.base_uri, damaged)
    (damaged / "model-00.safetensors").write_bytes(b"no weights")
    sets = [f"+sets.noise.source_uri={source.uri}", f"+sets.noise.clean_uri={clean.uri}"]
    given = [f"base_uri={damaged}", f"output_uri={spec.output_uri}", f"source_endpoint_url={spec.source_endpoint_url}"]
    assert main([*given, *sets]) == 2
    assert "INVALID_SPEC: " in capsys.readouterr().err


def test_without_the_truth_it_says_what_pixels_say(place):
    source, _, spec = place
    untrue = EvaluateSpec.model_validate(spec.model_dump() | {"sets": {"mine": {"source_uri": source.uri}}})
    score = evaluate(untrue).sets["mine"]
    assert (score.images, score.skipped) == (5, 0)
    assert all(column.psnr_db is None and column.gain_db is None for column in score.columns.values())
    assert 5 < score.columns["input"].noise_left < 25  # sigma 25, of the mean channel
    assert score.columns["input"].tone_moved == 0
    sheet = Image.open(io.BytesIO(open_storage(untrue.output_uri).get("mine.jpg")))
    assert sheet.width > 256 * len(score.columns)
    assert np.asarray(sheet)[60:120, :200].std() > 5


def test_it_adapts_to_every_second_picture_and_scores_the_others(tmp_path, base_model, s3):
    bucket = s3.bucket()
    source, clean = (open_storage(f"s3://{bucket}/{name}", endpoint_url=s3.endpoint_url) for name in ("in", "truth"))
    rng = np.random.default_rng(0)
    for number, scene in enumerate(dead_leaves(20, 96, seed=9)):
        source.put(f"{number:02}.png", png(np.clip(scene + rng.normal(0, 25, scene.shape), 0, 255).astype(np.uint8)))
        clean.put(f"{number:02}.png", png(scene))
    spec = EvaluateSpec.model_validate(
        {
            "sets": {"a": {"source_uri": source.uri, "clean_uri": clean.uri}, "b": {"source_uri": source.uri}},
            "source_endpoint_url": s3.endpoint_url,
            "base_uri": str(base_model[0]),
            "output_uri": str(tmp_path / "out"),
            "adapt": True,
            "recipe": {"steps": 4},
            "classical": "none",
        }
    )
    scores = evaluate(spec).sets
    assert scores["a"].images == scores["b"].images == 10
    assert "oracle" in scores["a"].columns
    assert "oracle" not in scores["b"].columns
    assert any(word.startswith("Noise: ") for word in scores["a"].words)
    assert (scores["a"].served_as == "adapter") == (scores["a"].why == "")
    rows = pq.read_table(io.BytesIO(open_storage(spec.output_uri).get("scores.parquet"))).to_pylist()
    assert {row["key"] for row in rows} == {f"{number:02}.png" for number in range(1, 20, 2)}
    assert {row["oracle_psnr_db"] is None for row in rows if row["set"] == "b"} == {True}


def test_adapting_and_a_given_adapter_exclude_each_other(place):
    with pytest.raises(ValueError, match="adapt=true makes an adapter of its own"):
        EvaluateSpec.model_validate(place[2].model_dump() | {"adapt": True, "adapter_uri": "somewhere"})


def test_a_classical_method_that_is_not_installed_is_said(place, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    spec = place[2]
    with pytest.raises(JobError, match="pip install opencv-python-headless"):
        evaluate(spec.model_copy(update={"classical": "opencv"}))
    assert not {"bm3d", "opencv"} & set(evaluate(spec).sets["noise"].columns)
