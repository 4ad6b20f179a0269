"""Training a base model on Ray Train: survives a killed worker, publishes once, refuses early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from udair.bundle import load_bundle
from udair.config import TrainConfig
from udair.weights import MANIFEST
from udair_jobs.base_models import local_folder, publish_base_model
from udair_jobs.command_line import CONF
from udair_jobs.errors import JobError, PreconditionFailed
from udair_jobs.storage import open_storage
from udair_jobs.train_source import main, spec_from, train_source
from udair_jobs.train_specs import TrainSpec

STEPS = 100
RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_AUTH_MODE": "disabled",
    "OMP_NUM_THREADS": "1",
}


def descendants(pid: int) -> list[int]:
    """Every process that descends from `pid`."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = [pid]
    for known in found:
        found.extend(child for child, parent in parents.items() if parent == known)
    return found[1:]


def train_workers(pid: int) -> list[int]:
    """Ray Train's worker processes below `pid`."""
    found = []
    for child in descendants(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in command:
            found.append(child)
    return found


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
    log = tmp_path_factory.mktemp("train") / "log.txt"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "udair_jobs.train_source", *arguments],
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env=os.environ
            | {
                "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
                "RAY_AUTH_MODE": "disabled",
                "OMP_NUM_THREADS": "1",
            },
        )
    killed = False
    try:
        deadline = time.monotonic() + 540
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
            if not killed and output.exists("checkpoints/train/checkpoint_manager_snapshot.json"):
                workers = train_workers(process.pid)
                if workers:
                    os.kill(workers[-1], signal.SIGKILL)
                    killed = True
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    text = log.read_text()
    assert process.returncode == 0, text[-6000:]
    assert killed, text[-6000:]
    return arguments, output, text


def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(trained):
    assert "continues from step" in trained[2]


def test_the_published_base_model_loads_and_knows_its_origin(trained, tmp_path, s3):
    _, output, text = trained
    folder = local_folder(output.at("base").uri, tmp_path, endpoint_url=s3.endpoint_url)
    bundle = load_bundle(folder)
    assert bundle.digest in text
    assert bundle.name == "udair-tiny"
    assert bundle.manifest["card"]["steps"] == STEPS
    assert bundle.manifest["card"]["images"] == 6
    assert bundle.replay_NCHW.shape == (4, 3, 96, 96)


def test_running_it_again_returns_what_was_published_without_training(trained, capsys):
    arguments, output, text = trained
    before = {item.key: item.etag for item in output.list()}
    started = time.monotonic()
    assert main(arguments) == 0
    assert time.monotonic() - started < 30
    digest = capsys.readouterr().out.split()[-1]
    assert digest in text
    assert {item.key: item.etag for item in output.list()} == before


def test_no_checkpoint_holds_anything_but_safetensors_and_json(trained):
    names = [item.key for item in trained[1].at("checkpoints").list() if "/step-" in item.key]
    assert names
    assert all(name.endswith((".safetensors", ".json")) for name in names)


def test_wrong_settings_are_refused_before_ray_starts(tmp_path, capsys):
    where = [f"data_uri={tmp_path}/photos", f"output_uri={tmp_path}/out"]
    assert main([*where, "size=huge"]) == 2
    assert "model size 'huge' is unknown" in capsys.readouterr().err
    assert main([*where, "train.patch=50"]) == 2
    assert "train.patch is 50; expected a multiple of 16" in capsys.readouterr().err
    assert main([*where, "+train.momentum=0.9"]) == 2
    assert "train.momentum is unknown" in capsys.readouterr().err
    assert main([*where, "workers=0"]) == 2
    assert "workers is 0" in capsys.readouterr().err
    assert main(where[1:]) == 2
    assert "data_uri: Field required" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_prefix_is_refused_before_ray_starts(tmp_path):
    with pytest.raises(JobError, match="holds no object") as caught:
        train_source(spec_from({"data_uri": str(tmp_path / "photos"), "output_uri": str(tmp_path / "out")}))
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
    assert run.returncode == 3, run.stdout + run.stderr
    assert "trying once more" in run.stdout
    assert "CONTROLLER_ERROR: Ray did not start on this machine" in run.stderr


def test_the_configuration_file_repeats_the_defaults():
    config = yaml.safe_load((CONF / "train_source.yaml").read_text())
    defaults = TrainSpec(data_uri="a", output_uri="b").model_dump()
    assert config["train"] == asdict(TrainConfig())
    for name in set(defaults) - {"train", "data_uri", "output_uri"}:
        assert config[name] == defaults[name], name
    assert set(config) - {"defaults", "hydra"} == set(defaults)


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
