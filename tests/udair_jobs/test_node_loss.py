"""Training on a cluster of several nodes of which one is lost: it goes on with the others."""

from __future__ import annotations

import pytest
from ray_nodes import ray_nodes
from train_process import run_training

from udair.weights import MANIFEST
from udair_jobs.storage import open_storage


@pytest.mark.slow
def test_training_goes_on_with_the_nodes_that_are_left(tmp_path, picture):
    data, output = open_storage(str(tmp_path / "photos")), open_storage(str(tmp_path / "out"))
    for number in range(6):
        data.put(f"{number}.png", picture(number, size=(160, 128)))
    arguments = [
        f"data_uri={data.uri}",
        f"output_uri={output.uri}",
        "preset=smoke",
        "workers=2",
        "min_workers=1",
        "train.steps=600",
        "train.minutes=5",
        "checkpoint_every=20",
    ]
    with ray_nodes(tmp_path / "ray.log", head_cpus=0) as nodes:
        nodes.add("127.0.0.2", cpus=1)
        doomed = nodes.add("127.0.0.3", cpus=1)
        environment = nodes.environment | {
            "RAY_ADDRESS": nodes.address,
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
        }
        with run_training(arguments, tmp_path, **environment) as run:
            run.until(lambda: output.exists("checkpoints/train/checkpoint_manager_snapshot.json"))
            assert "worker group of size 2" in run.log.read_text()
            nodes.kill(doomed)
            text = run.text_at_end(0)
    assert "worker 0 continues from step" in text
    assert output.at("base").exists(MANIFEST)
