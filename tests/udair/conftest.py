"""A small base model, built once: trained for seconds, so that its behaviour is real and its quality is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from udair.bundle import Bundle, load_bundle, save_bundle
from udair.config import ModelConfig, TrainConfig
from udair.data.patches import PatchSource
from udair.data.scenes import dead_leaves
from udair.source_stats import source_statistics
from udair.training import SourceTrainer


@pytest.fixture(scope="session")
def scenes() -> list[np.ndarray]:
    return dead_leaves(12, 96, seed=3)


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory, scenes: list[np.ndarray]) -> Path:
    config = ModelConfig("test", (8, 12, 16), (1, 1, 1), codes=16, code_dim=8, embedder_width=8)
    source = PatchSource(scenes)
    trainer = SourceTrainer(
        config,
        TrainConfig(steps=12, minutes=5, batch=16, patch=48, finish_patch=64, learning_rate=4e-3, warm_steps=100),
        source,
    )
    while trainer.progress < 1:
        trainer.step()
    model = trainer.averaged()
    stats = source_statistics(model, source, batches=16, batch=32, patch=64)
    replay = torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2)
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, "test", model, stats, replay)
    return folder


@pytest.fixture(scope="session")
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)
