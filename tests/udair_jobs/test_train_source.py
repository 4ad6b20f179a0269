"""Training a base model on Ray Train: survives a killed worker, publishes once, refuses early."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from train_process import run_training, train_workers

from udair.bundle import load_bundle
from udair.weights import MANIFEST
from udair_jobs.errors import JobError, PreconditionFailed
from udair_jobs.published.base_models import local_folder, publish_base_model
from udair_jobs.runtime.command_line import compose, parsed, to_plain
from udair_jobs.storage import open_storage
from udair_jobs.train_source.__main__ import main
from udair_jobs.train_source.job import train_source
from udair_jobs.train_source.loop import MetricsLog
from udair_jobs.train_source.specs import TrainSpec
from udair_jobs.train_source.validation import Validation

STEPS = 100
COMMITTED = "checkpoints/train/checkpoint_manager_snapshot.json"


@pytest.fixture(scope="module")
def trained(s3, picture, tmp_path_factory):
    """A run of the command on S3 in which one worker was killed after the first checkpoint."""
    data = open_storage(f"s3://{s3.bucket()}/clean", endpoint_url=s3.endpoint_url)
    output = open_storage(f"s3://{s3.bucket()}/runs/source", endpoint_url=s3.endpoint_url)
    for number in range(6):
        data.put(f"{number}.png", picture(number, size=(160, 128)))
    arguments = [
        f"data_uri={data.uri}",
        f"output_uri={output.uri}",
        f"train.steps={STEPS}",
        "train.batch=2",
        "train.patch=32",
        "checkpoint_every=20",
        "replay_scenes=4",
        "replay_side=96",
        "statistics_batches=4",
    ]
    with run_training(arguments, tmp_path_factory.mktemp("train")) as run:
        run.until(lambda: output.exists(COMMITTED))
        run.until(lambda: train_workers(run.process.pid))
        os.kill(train_workers(run.process.pid)[-1], signal.SIGKILL)
        text = run.text_at_end(0)
    return arguments, output, text


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(trained):
    assert "continues from step" in trained[2]


@pytest.mark.slow
def test_the_published_base_model_loads_and_knows_its_origin(trained, tmp_path, s3):
    _, output, text = trained
    with local_folder(output.at("base").uri, endpoint_url=s3.endpoint_url) as folder:
        bundle = load_bundle(folder)
    assert bundle.digest in text
    assert bundle.name == "udair-tiny"
    assert bundle.manifest["card"]["images"] == 6
    assert bundle.replay_NCHW.shape == (4, 3, 96, 96)


@pytest.mark.slow
def test_every_checkpoint_is_one_line_of_figures_and_the_best_is_published(trained, tmp_path, s3):
    _, output, _ = trained
    rows = [json.loads(line) for line in output.get("metrics.jsonl").decode().splitlines()]
    assert [row["steps"] for row in rows] == [20, 40, 60, 80, STEPS]
    with local_folder(output.at("base").uri, endpoint_url=s3.endpoint_url) as folder:
        card = load_bundle(folder).manifest["card"]
    best = max(rows, key=lambda row: row["validation_psnr_db"])
    assert card["metrics"]["validation_psnr_db"] == best["validation_psnr_db"]
    assert card["steps"] == best["steps"]


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_publishes_nothing_and_is_continued_by_the_same_command(tmp_path, picture):
    data, output = open_storage(str(tmp_path / "photos")), open_storage(str(tmp_path / "out"))
    for number in range(3):
        data.put(f"{number}.png", picture(number, size=(160, 128)))
    arguments = [
        f"data_uri={data.uri}",
        f"output_uri={output.uri}",
        "preset=smoke",
        "workers=1",
        "checkpoint_every=5",
        "validation_batches=0",
    ]
    with run_training([*arguments, "train.steps=5000"], tmp_path) as run:
        run.until(lambda: output.exists(COMMITTED))
        run.process.send_signal(signal.SIGTERM)
        text = run.text_at_end(3)
    assert "USER_CANCELLED: training was asked to stop" in text
    assert not output.at("base").exists(MANIFEST)

    with run_training([*arguments, "train.steps=40"], tmp_path) as run:
        text = run.text_at_end(0)
    assert "continues from step" in text
    assert output.at("base").exists(MANIFEST)


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_is_the_settings_fault(tmp_path, picture):
    data, output = open_storage(str(tmp_path / "photos")), open_storage(str(tmp_path / "out"))
    data.put("a.png", picture(0, size=(160, 128)))
    where = [f"data_uri={data.uri}", f"output_uri={output.uri}", "preset=smoke", "workers=1", "max_failures=0"]
    with run_training([*where, "train.learning_rate=1", "train.steps=2000", "checkpoint_every=2000"], tmp_path) as run:
        text = run.text_at_end(7)
    assert "NAN_LOSS: training failed: " in text
    assert "Lower train.learning_rate" in text
    assert not output.at("base").exists(MANIFEST)


def test_training_stops_when_the_score_stands_still(tmp_path):
    validation = Validation(None, batches=1, patience=2)
    for score_db in (20.0, 21.0, -math.inf, 20.5):
        validation.keep(score_db)
    assert (validation.best_db, validation.stale, validation.exhausted) == (21.0, 1, False)
    validation.save(tmp_path)
    continued = Validation(None, batches=1, patience=2)
    continued.load(tmp_path)
    continued.keep(21.0)  # as good is not better
    assert continued.exhausted
    continued.keep(21.1)
    assert not continued.exhausted


def test_lines_of_steps_that_are_taken_again_are_dropped(tmp_path):
    output = open_storage(str(tmp_path))
    first = MetricsLog(output, 0)
    for steps in (20.0, 40.0, 60.0):
        first.add({"steps": steps, "loss": math.nan})
    MetricsLog(output, 40).add({"steps": 60.0, "loss": 1.0})
    rows = [json.loads(line) for line in output.get("metrics.jsonl").splitlines()]
    assert rows == [{"steps": 20.0, "loss": None}, {"steps": 40.0, "loss": None}, {"steps": 60.0, "loss": 1.0}]


@pytest.mark.slow
def test_running_it_again_returns_what_was_published_without_training(trained, capsys):
    arguments, output, text = trained
    before = {item.key: item.etag for item in output.list()}
    started = time.monotonic()
    assert main(arguments) == 0
    assert time.monotonic() - started < 30
    digest = capsys.readouterr().out.split()[-1]
    assert digest in text
    assert {item.key: item.etag for item in output.list()} == before


@pytest.mark.slow
def test_no_checkpoint_holds_anything_but_safetensors_and_json(trained):
    names = [item.key for item in trained[1].at("checkpoints").list() if "/step-" in item.key]
    assert names
    assert all(name.endswith((".safetensors", ".json")) for name in names)


def test_wrong_settings_are_refused_before_ray_starts(tmp_path, capsys):
    where = [f"data_uri={tmp_path}/photos", f"output_uri={tmp_path}/out"]
    assert main([*where, "size=huge"]) == 2
    assert "model size 'huge' is unknown" in capsys.readouterr().err
    assert main([*where, "train.patch=50"]) == 2
    assert "train.patch is 50: Input should be a multiple of 16" in capsys.readouterr().err
    assert main([*where, "+train.momentum=0.9"]) == 2
    assert "train.momentum is unknown" in capsys.readouterr().err
    assert main([*where, "workers=0"]) == 2
    assert "workers is 0" in capsys.readouterr().err
    assert main([*where, "min_workers=3"]) == 2
    assert "min_workers is 3; expected at most workers, 2" in capsys.readouterr().err
    assert main([*where, "patience=3", "validation_batches=0"]) == 2
    assert "patience needs validations" in capsys.readouterr().err
    assert main(where[1:]) == 2
    assert "data_uri: Field required" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_prefix_is_refused_before_ray_starts(tmp_path):
    with pytest.raises(JobError, match="holds no object") as caught:
        train_source(parsed(TrainSpec, {"data_uri": str(tmp_path / "photos"), "output_uri": str(tmp_path / "out")}))
    assert caught.value.reason == "DATA_EMPTY"


def test_ray_that_does_not_start_is_tried_twice_and_explained(tmp_path, picture):
    data = open_storage(str(tmp_path / "photos"))
    data.put("a.png", picture(1))
    run = subprocess.run(
        [sys.executable, "-m", "udair_jobs.train_source", f"data_uri={data.uri}", "output_uri=out"],
        env=os.environ | {"RAY_TMPDIR": str(tmp_path / "photos" / "a.png")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 5, run.stdout + run.stderr
    assert "trying once more" in run.stdout
    assert "CONTROLLER_ERROR: Ray did not start on this machine" in run.stderr


def test_the_configuration_file_repeats_the_defaults():
    config = to_plain(compose("train_source", TrainSpec, []))
    assert config == TrainSpec(data_uri="a", output_uri="b").model_dump() | {"data_uri": None, "output_uri": None}


class Killed(BaseException):
    """The process died here."""


@pytest.mark.parametrize("writes", range(4))
def test_a_base_model_whose_publication_was_killed_is_none_and_can_be_repeated(tmp_path, base_model, writes):
    class Dying:
        def __init__(self, store):
            self._store, self._left = store, writes

        def __getattr__(self, name):
            return getattr(self._store, name)

        def put(self, key, data, **options):
            if self._left == 0:
                raise Killed
            self._left -= 1
            return self._store.put(key, data, **options)

    store = open_storage(str(tmp_path / "base"))
    with pytest.raises(Killed):
        publish_base_model(base_model[0], Dying(store))
    assert not store.exists(MANIFEST)

    publish_base_model(base_model[0], store)
    assert load_bundle(tmp_path / "base").digest == base_model[1]
    with pytest.raises(PreconditionFailed):
        publish_base_model(base_model[0], store)
