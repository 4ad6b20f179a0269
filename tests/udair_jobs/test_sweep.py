"""Sweeps find what is better, say so honestly, and go on where they were."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from processes import kill_first
from pyarrow.fs import LocalFileSystem
from ray.tune import Result

from udair.config import RecipeConfig, TrainConfig
from udair.data.degradations import Chain
from udair.data.patches import to_array, to_tensor
from udair.data.scenes import dead_leaves
from udair_jobs.adapt_domain.__main__ import main as adapt_main
from udair_jobs.errors import JobError
from udair_jobs.restore_batch.__main__ import main as restore_main
from udair_jobs.runtime.command_line import CONF
from udair_jobs.runtime.intervals import mean_low
from udair_jobs.storage import open_storage
from udair_jobs.sweep.__main__ import main
from udair_jobs.sweep.job import sweep
from udair_jobs.sweep.ranking import trial_values
from udair_jobs.sweep.specs import SweepResult, SweepSpec
from udair_jobs.sweep.trials import CONFIGS

TTA_SPACE = {
    "steps": {"low": 1, "high": 8, "integer": True},
    "learning_rate": {"low": 0.0005, "high": 0.2, "log": True},
    "reset": {"choices": ["request", "stream"]},
}


pytestmark = pytest.mark.usefixtures("local_ray")


def png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    """A folder of noisy pictures and one of their clean versions."""
    root = tmp_path_factory.mktemp("domain")
    source, clean = open_storage(str(root / "noisy")), open_storage(str(root / "clean"))
    scenes = dead_leaves(16, 128, seed=50)
    generator = torch.Generator().manual_seed(0)
    chain = Chain(["noise"])
    noisy = chain.degrade(to_tensor(scenes), chain.sample(1, generator).expand(16, -1), generator)
    for number, (scene, image) in enumerate(zip(scenes, noisy, strict=True)):
        source.put(f"{number:02}.png", png(to_array(image)))
        clean.put(f"{number:02}.webp.png" if number == 0 else f"{number:02}.png", png(scene))
    source.put("notes.txt", b"no image")
    return source, clean


@pytest.fixture
def spec(tmp_path, domain, base_model):
    return SweepSpec(
        kind="tta",
        source_uri=domain[0].uri,
        base_uri=str(base_model[0]),
        output_uri=str(tmp_path / "sweep"),
        space=TTA_SPACE,
        fixed={"crop": 48},
        trials=5,
        pairs=4,
        side=96,
    )


def test_every_trial_ends_with_a_score_or_a_reason_and_the_default_is_one(spec):
    spec = SweepSpec.model_validate(
        spec.model_dump()
        | {
            "kind": "recipe",
            "base_uri": "packaged:tiny",  # an untrained one gives every trial the same score
            "fixed": {"steps": 4, "batch": 2},
            "space": {
                "learning_rate": {"low": 0.0005, "high": 0.05, "log": True},
                "patch": {"choices": [32, 64]},
            },
        }
    )
    result = sweep(spec)
    output = open_storage(spec.output_uri)
    rows = pq.read_table(io.BytesIO(output.get("trials.parquet"))).to_pylist()
    assert result.trials == len(rows) == 5
    assert all(row["score_db"] is not None or row["detail"] for row in rows)
    assert result.default is not None
    assert result.default.values == {"learning_rate": RecipeConfig().learning_rate, "patch": RecipeConfig().patch}
    assert result.best.score_db == max(row["score_db"] for row in rows if row["state"] == "COMPLETED")
    assert output.get("parallel.png")[:4] == output.get("importance.png")[:4] == b"\x89PNG"
    assert result.objective == "pseudo-target gain"
    # What it says of improvement is what the pairs say that the search did not see.
    assert not result.improved or result.best.check_low_db > 0
    assert sweep(spec) == result  # once more: what it found


def test_labels_are_used_where_there_are_some_and_everything_may_be_on_s3(spec, domain, s3):
    bucket = s3.bucket()
    for name, folder in (("in", domain[0]), ("truth", domain[1])):
        store = open_storage(f"s3://{bucket}/{name}", endpoint_url=s3.endpoint_url)
        for info in folder.list():
            store.put(info.key, folder.get(info.key))
    spec = SweepSpec.model_validate(
        spec.model_dump()
        | {
            "source_uri": f"s3://{bucket}/in",
            "clean_uri": f"s3://{bucket}/truth",
            "source_endpoint_url": s3.endpoint_url,
            "output_uri": f"s3://{bucket}/sweep",
            "store_endpoint_url": s3.endpoint_url,
            "kind": "alignment",
            "fixed": {},
            "trials": 3,
            "space": {
                "coral_weight": {"low": 0.01, "high": 10.0, "log": True},
                "steps": {"low": 2, "high": 80, "integer": True},
            },
        }
    )
    output = open_storage(spec.output_uri, endpoint_url=s3.endpoint_url)
    result = sweep(spec)
    assert result.objective == "labelled gain"
    assert result.trials == 3
    # As after a kill between the last trial and the result: nothing is searched again.
    output.delete("result.json")
    again = sweep(spec)
    assert again.best == result.best
    assert again.trials == 3


def test_labels_that_do_not_match_are_refused(spec, tmp_path):
    other = open_storage(str(tmp_path / "other"))
    other.put("unrelated.png", png(np.zeros((96, 96, 3), np.uint8)))
    with pytest.raises(JobError, match="has a clean version of its size") as refused:
        sweep(spec.model_copy(update={"clean_uri": other.uri}))
    assert refused.value.reason == "DATA_EMPTY"


def test_another_sweep_is_not_continued_under_the_same_name(spec):
    open_storage(spec.output_uri).put("spec.json", spec.model_dump_json().encode())
    with pytest.raises(JobError, match="another seed, trials"):
        sweep(spec.model_copy(update={"seed": 3, "trials": 9}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"stepz": {"low": 1, "high": 2}}}, "tta has no stepz"),
        ({"space": {"steps": {"low": 10, "high": 20, "integer": True}}}, "the default 1 lies outside"),
        ({"space": {"learning_rate": {"low": 0.0001, "high": 100}}}, "expected 1e-08 to 10"),
        ({"space": {"reset": {"choices": ["request", "never"]}}}, "one of request, stream"),
        ({"fixed": {"crop": 50}}, "multiple of 16"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_before_anything_runs(spec, changes, said):
    with pytest.raises(JobError, match=said) as refused:
        sweep(SweepSpec.model_validate(spec.model_dump() | changes))
    assert refused.value.reason == "INVALID_SPEC"
    assert not open_storage(spec.output_uri).exists("spec.json")


@pytest.mark.slow
def test_a_trial_whose_process_dies_says_so_and_the_sweep_ends(spec):
    spec = SweepSpec.model_validate(spec.model_dump() | {"retries": 0, "concurrent": 1, "pairs": 12, "trials": 3})
    killed = kill_first(b".train")
    result = sweep(spec)
    assert killed()
    assert result.by_state["FAILED"] == 1
    rows = pq.read_table(io.BytesIO(open_storage(spec.output_uri).get("trials.parquet"))).to_pylist()
    assert next(row["detail"] for row in rows if row["state"] == "FAILED")
    assert sum(row["score_db"] is not None for row in rows) == 2
    assert all(row[f"values.{name}"] is not None for row in rows for name in spec.space)


def test_a_trial_that_died_before_its_first_report_still_says_what_it_was_given(spec, tmp_path):
    (tmp_path / "params.json").write_text(json.dumps(dict.fromkeys(spec.space, 1)))
    died = Result(metrics=None, checkpoint=None, path=str(tmp_path), error=None, _storage_filesystem=LocalFileSystem())
    assert trial_values(spec, died) == dict.fromkeys(spec.space, 1)
    (tmp_path / "params.json").unlink()
    assert trial_values(spec, died) == {}


@pytest.mark.slow
def test_source_training_is_swept_on_held_out_photographs(spec, domain):
    spec = SweepSpec.model_validate(
        spec.model_dump()
        | {
            "kind": "source",
            "source_uri": domain[1].uri,
            "validation_every": 2,
            "trials": 2,
            "fixed": {"steps": 4, "minutes": 1.0, "batch": 2, "patch": 32, "finish_share": 0.0},
            "space": {"learning_rate": {"low": 0.0005, "high": 0.02, "log": True}},
        }
    )
    result = sweep(spec)
    assert result.objective == "validation"
    assert result.default.values == {"learning_rate": TrainConfig().learning_rate}
    assert result.best.check_db is not None


def test_the_best_values_are_an_override_that_jobs_take(tmp_path, domain, base_model, spec, capsys):
    swept = Path(spec.output_uri)
    sweep(spec)
    given = ["--config-dir", str(swept), "+tuned=best", f"base_uri={base_model[0]}", f"source_uri={domain[0].uri}"]
    assert restore_main([*given, f"output_uri={tmp_path / 'out'}", "workers=1"]) == 0
    (swept / "tuned" / "best.yaml").write_text(
        "# @package _global_\nrecipe:\n  alignment:\n    projection_rank: 2\n  steps: 1\n"
    )
    assert adapt_main([*given, f"output_uri={tmp_path / 'adapted'}"]) == 0


@pytest.mark.slow
def test_a_killed_sweep_goes_on_with_what_it_had_not_finished(spec, tmp_path):
    program = "import json,sys; from udair_jobs.sweep.job import sweep; from udair_jobs.sweep.specs import SweepSpec; "
    program += "sweep(SweepSpec.model_validate_json(sys.argv[1]))"
    spec = spec.model_copy(update={"trials": 8, "concurrent": 1})
    process = subprocess.Popen([sys.executable, "-c", program, spec.model_dump_json()], start_new_session=True)
    runs = Path(spec.output_uri) / "tune" / "sweep"
    until = time.monotonic() + 120
    while time.monotonic() < until and sum("check_db" in p.read_text() for p in runs.glob("trial*/result.json")) < 2:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {p.parent.name.split("_")[1] for p in runs.glob("trial*/result.json") if "check_db" in p.read_text()}
    assert len(finished) >= 2
    result = sweep(spec)
    rows = pq.read_table(io.BytesIO(open_storage(spec.output_uri).get("trials.parquet"))).to_pylist()
    assert result.trials == 8
    assert finished <= {row["trial_id"] for row in rows if row["state"] == "COMPLETED"}


@pytest.mark.slow
def test_the_command_line_says_what_was_found(tmp_path, domain, base_model, capsys):
    given = [
        "sweep=tta",
        f"source_uri={domain[0].uri}",
        f"base_uri={base_model[0]}",
        f"output_uri={tmp_path / 'run'}",
        "trials=4",
        "pairs=4",
        "side=96",
        "space.steps.high=8",
    ]
    assert main(given) == 0
    out = capsys.readouterr().out
    assert "default " in out
    assert "best " in out
    assert "use it" in out or "the default is best" in out
    saved = SweepResult.model_validate(json.loads((tmp_path / "run" / "result.json").read_bytes()))
    assert saved.trials == 4
    assert main([*given[:3], f"output_uri={tmp_path / 'other'}", "trials=1"]) == 2
    assert "greater than or equal to 2" in capsys.readouterr().err


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_shipped_spaces_hold_the_defaults(kind):
    from omegaconf import OmegaConf

    shipped = OmegaConf.to_container(OmegaConf.load(CONF / "sweep" / f"{kind}.yaml"))
    shipped.pop("limits", None)
    spec = SweepSpec(source_uri="in", output_uri="out", **shipped)
    from udair_jobs.sweep.job import _check

    _check(spec)
    assert set(spec.space) <= {item.name for item in fields(CONFIGS[kind])}


def test_an_interval_of_a_mean_needs_values():
    assert mean_low([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert mean_low([1.0, -1.0, 1.0]) < 0
    assert mean_low([1.0]) == -float("inf")
