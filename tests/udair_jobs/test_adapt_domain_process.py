"""The adaptation job as a process: its command line, its exit status, and being stopped or killed."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
from heartbeats import read_progress
from PIL import Image

from udair.config import RecipeConfig
from udair.data.scenes import dead_leaves
from udair_jobs.adapt_domain.__main__ import main
from udair_jobs.adapt_domain.job import run
from udair_jobs.adapt_domain.specs import spec_at, spec_from
from udair_jobs.errors import JobError
from udair_jobs.published.candidates import MANIFEST, verify_candidate
from udair_jobs.runtime.command_line import compose, to_plain
from udair_jobs.runtime.curves import CURVES
from udair_jobs.runtime.results import read_result
from udair_jobs.specs import PHASES, AdaptSpec, CurveSet, LimitsSpec
from udair_jobs.storage import open_storage

KEPT = ("embedding.safetensors", "adapting.safetensors")
QUICK = ["recipe.steps=1", "recipe.batch=2", "recipe.patch=32"]


@pytest.fixture
def photos(tmp_path, picture):
    store = open_storage(str(tmp_path / "my photos (1)=a"))
    for number in range(12):
        store.put(f"{number}.png", picture(number, size=(96, 80)))
    return store


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "udair_jobs.adapt_domain", *arguments]


def write_spec(tmp_path, base_model, source_uri, **recipe):
    spec = AdaptSpec(
        tenant="acme",
        domain="foggy-cams",
        job_id="j-1",
        source_uri=source_uri,
        base_uri=str(base_model[0]),
        base_digest=base_model[1],
        snapshot_id="s-1",
        snapshot_uri=str(tmp_path / "snapshot"),
        output_uri=str(tmp_path / "attempt"),
        recipe=RecipeConfig(**recipe),
    )
    path = tmp_path / "job (1)" / "spec.json"
    path.parent.mkdir()
    path.write_text(spec.model_dump_json())
    return path, open_storage(spec.output_uri)


def wait_for(condition, process, seconds=90.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        assert process.poll() is None, f"the job ended early: {process.communicate()}"
        time.sleep(0.05)
    pytest.fail("the job did not get there in time")


def test_source_and_output_suffice_and_nothing_else_is_left_behind(tmp_path, photos, base_model):
    workplace = tmp_path / "workplace"
    workplace.mkdir()
    base = f"base_uri={base_model[0]}"

    run = subprocess.run(
        command(f"source_uri={photos.uri}", "output_uri=out", base, *QUICK),
        cwd=workplace,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert [path.name for path in workplace.iterdir()] == ["out"]
    output = open_storage(str(workplace / "out"))
    assert read_result(output).state == "SUCCEEDED"
    assert verify_candidate(output.at("candidate")).digest in run.stdout


def test_a_failed_job_exits_with_3_and_an_impossible_one_with_2(tmp_path, base_model, capsys):
    path, output = write_spec(tmp_path, base_model, str(tmp_path / "empty"))
    assert main([f"spec={path}"]) == 3
    assert read_result(output).reason == "DATA_EMPTY"
    assert "DATA_EMPTY: " in capsys.readouterr().out
    assert main([f"spec={tmp_path}/nope.json"]) == 2
    assert "cannot read the spec" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_exits_with_1(tmp_path, base_model, capsys):
    path, _ = write_spec(tmp_path, base_model, str(tmp_path / "empty"))
    document = json.loads(path.read_text()) | {"output_uri": str(path)}  # a file where a folder should be
    path.write_text(json.dumps(document))
    assert main([f"spec={path}"]) == 1
    assert "cannot write a result" in capsys.readouterr().err


def test_sigterm_ends_a_running_job_within_seconds_with_a_result(tmp_path, noisy, base_model):
    path, output = write_spec(tmp_path, base_model, noisy.uri, steps=2000, budget_s=600)
    process = subprocess.Popen(command(f"spec={path}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (p := read_progress(output)) and p.phase == "ADAPTING", process)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    assert time.monotonic() - asked < 10
    assert process.returncode == 3
    result = read_result(output)
    assert (result.state, result.reason) == ("FAILED", "USER_CANCELLED")
    assert "SIGTERM" in result.detail
    assert not output.exists(f"candidate/{MANIFEST}")


def test_a_job_that_was_killed_can_be_run_again(tmp_path, photos, base_model):
    path, output = write_spec(tmp_path, base_model, photos.uri, steps=1, batch=2, patch=32)
    process = subprocess.Popen(command(f"spec={path}"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: read_progress(output), process)
    finally:
        process.kill()
        process.communicate()
    assert read_result(output) is None

    assert main([f"spec={path}"]) == 0
    assert read_result(output).state == "SUCCEEDED"
    assert main([f"spec={path}"]) == 0


RECIPE = {"steps": 30, "batch": 2, "patch": 32, "budget_s": 600.0}


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Noisy pictures with flat places: something to adapt to."""
    store = open_storage(str(tmp_path_factory.mktemp("noisy")))
    rng = np.random.default_rng(0)
    for number, scene in enumerate(dead_leaves(12, 32, seed=70)):
        large = np.asarray(Image.fromarray(scene).resize((160, 160), Image.Resampling.BICUBIC)) // 2 + 64
        noise = rng.normal(0, 15, large.shape)
        noise = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) + np.roll(noise, (1, 1), (0, 1))) / 2
        buffer = io.BytesIO()
        Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8)).save(buffer, "PNG")
        store.put(f"{number}.png", buffer.getvalue())
    return store


@pytest.fixture(scope="module")
def unbroken(noisy, base_model, tmp_path_factory):
    """Digest of the adapter that a job makes that nobody disturbs."""
    path, output = write_spec(tmp_path_factory.mktemp("unbroken"), base_model, noisy.uri, **RECIPE)
    assert main([f"spec={path}"]) == 0
    return verify_candidate(output.at("candidate")).digest


_SLOW = [pytest.param(phase, marks=pytest.mark.slow) for phase in ("FETCHING", "EMBEDDING")]


@pytest.mark.parametrize("phase", [*_SLOW, "ALIGNING", "ADAPTING", "EVALUATING"])
def test_killed_in_any_phase_and_run_again_it_makes_the_same_adapter(tmp_path, noisy, base_model, unbroken, phase):
    path, output = write_spec(tmp_path, base_model, noisy.uri, **RECIPE)
    process = subprocess.Popen(command(f"spec={path}"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: (p := read_progress(output)) and PHASES.index(p.phase) >= PHASES.index(phase), process)
    finally:
        process.kill()
        process.communicate()
    assert read_result(output) is None
    checkpoints = output.at("checkpoints")
    kept = {name: checkpoints.head(name).etag for name in KEPT if checkpoints.exists(name)}
    if phase == "EVALUATING":
        assert len(kept) == 2
    assert main([f"spec={path}"]) == 0
    assert verify_candidate(output.at("candidate")).digest == unbroken
    # What was done by the process that died was not done again.
    assert all(checkpoints.head(name).etag == etag for name, etag in kept.items())


def test_checkpoints_of_another_recipe_or_damaged_ones_are_not_used(tmp_path, noisy, base_model, unbroken):
    path, output = write_spec(tmp_path, base_model, noisy.uri, **RECIPE | {"steps": 1})
    assert main([f"spec={path}"]) == 0
    spec = AdaptSpec.model_validate_json(path.read_text())
    output.at("checkpoints").put(KEPT[1], b"damaged")
    again = spec.model_copy(
        update={
            "recipe": RecipeConfig(**RECIPE),
            "output_uri": str(tmp_path / "again"),
            "checkpoint_uri": output.at("checkpoints").uri,
        }
    )
    result = run(again)
    assert result.state == "SUCCEEDED"
    assert result.manifest.digest == unbroken
    # Both have told of every step of their training.
    short, long = (
        CurveSet.model_validate_json(store.get(CURVES)).curves for store in (output, open_storage(again.output_uri))
    )
    # A round is measured when it has ended.
    rounds = ["round_gain_db", "round_gain_low_db", "round_noise_left_share"]
    assert (
        [curve.name for curve in long] == [curve.name for curve in short] == ["loss", *rounds, "loss_on_own_pictures"]
    )
    assert {len(curve.steps) for curve in (*short[1:4], *long[1:4])} == {4}
    assert long[0].steps[-1] == 30 * short[0].steps[-1] > 30


@pytest.mark.slow
def test_two_copies_at_once_give_one_result_and_both_end_well(tmp_path, noisy, base_model, unbroken):
    path, output = write_spec(tmp_path, base_model, noisy.uri, **RECIPE)
    copies = [
        subprocess.Popen(command(f"spec={path}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in copies]
    assert [process.returncode for process in copies] == [0, 0], said
    assert verify_candidate(output.at("candidate")).digest == unbroken
    assert all(unbroken in out for out, _ in said)


@pytest.mark.slow
def test_a_warm_start_begins_from_the_champion(tmp_path, noisy, base_model, unbroken):
    path, output = write_spec(tmp_path, base_model, noisy.uri, **RECIPE)
    assert main([f"spec={path}"]) == 0
    spec = AdaptSpec.model_validate_json(path.read_text())
    champion = output.at("candidate")

    def adapted(name, champion_uri):
        return run(spec.model_copy(update={"output_uri": str(tmp_path / name), "champion_uri": champion_uri}))

    warm = adapted("warm", champion.uri)
    assert warm.state == "SUCCEEDED"
    assert warm.metrics["loss_first"] != read_result(output).metrics["loss_first"]
    # One that is not there, or of another base model, costs the warm start and not the job.
    cold = adapted("cold", str(tmp_path / "nothing"))
    assert cold.manifest.digest == unbroken


def test_the_configuration_has_every_field_and_the_specs_defaults():
    config = to_plain(compose("adapt_domain", AdaptSpec, []))
    assert config["recipe"] == asdict(RecipeConfig())
    assert config["limits"] == LimitsSpec().model_dump()
    extra = set(config) - set(AdaptSpec.model_fields)
    missing = set(AdaptSpec.model_fields) - set(config) - {"schema_version"}
    assert (extra, missing) == (set(), set())


def test_an_invalid_spec_says_which_field_and_leaves_a_result_where_it_can(tmp_path, base_model):
    path, output = write_spec(tmp_path, base_model, "photos")
    document = json.loads(path.read_text())
    document["recipe"]["steps"] = 9999
    path.write_text(json.dumps(document))

    with pytest.raises(JobError, match=r"recipe\.steps is 9999: .*less than or equal to 2000"):
        spec_at(str(path))

    assert read_result(output).reason == "INVALID_SPEC"
    path.write_text("no json")
    with pytest.raises(JobError, match="is no adaptation spec"):
        spec_at(str(path))


@pytest.mark.parametrize("missing", ["source_uri", "output_uri"])
def test_a_missing_argument_is_named(missing):
    values = {"source_uri": "a", "output_uri": "b"} | {missing: None}
    with pytest.raises(JobError, match=f"{missing} is missing"):
        spec_from(values)
