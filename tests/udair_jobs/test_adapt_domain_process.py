"""The adaptation job as a process: its command line, its exit status, and being stopped or killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

from udair_jobs.adapt_domain import main
from udair_jobs.adapt_specs import spec_at, spec_from
from udair_jobs.command_line import CONF
from udair_jobs.errors import JobError
from udair_jobs.publish import MANIFEST, verify_candidate
from udair_jobs.reporting import read_progress
from udair_jobs.results import read_result
from udair_jobs.specs import AdaptSpec, LimitsSpec, RecipeSpec
from udair_jobs.storage import open_storage

QUICK = ["recipe.steps=1", "recipe.batch=2", "recipe.patch=32", "recipe.match_trials=2"]


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
        recipe=RecipeSpec(**recipe),
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


def test_sigterm_ends_a_running_job_within_seconds_with_a_result(tmp_path, photos, base_model):
    path, output = write_spec(tmp_path, base_model, photos.uri, steps=2000, budget_s=600, match_trials=2)
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
    path, output = write_spec(tmp_path, base_model, photos.uri, steps=1, batch=2, patch=32, match_trials=2)
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


def test_the_configuration_file_repeats_the_specs_defaults():
    config = yaml.safe_load((CONF / "adapt_domain.yaml").read_text())
    assert config["recipe"] == RecipeSpec().model_dump()
    assert config["limits"] == LimitsSpec().model_dump()
    extra = set(config) - set(AdaptSpec.model_fields) - {"defaults", "hydra"}
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
