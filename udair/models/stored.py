"""A restorer on disk: its weights in shards, and the part of a bundle's manifest that describes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from udair.config import ModelConfig
from udair.errors import BundleError, ConfigError
from udair.models.restorer import Restorer
from udair.weights.shards import read_shards, write_shards

SHARD = "model-{:02}.safetensors"
_PREFIX = "model-"


def write_model(folder: Path, model: Restorer) -> list[str]:
    """Write a restorer's weights, matrices as bfloat16; names of the files.

    What loads is what was scored if the caller scores the loaded model. Shards found in the folder go first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{_PREFIX}*.safetensors"):
        old.unlink()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # The codebook stays float32: rounding would move which code is nearest.
    stored = {n: t if "codebook" in n or t.ndim < 2 else t.to(torch.bfloat16) for n, t in weights.items()}
    return list(write_shards(folder, SHARD, stored))


def read_model(folder: Path, manifest: Mapping[str, Any]) -> Restorer:
    """The restorer of a bundle, float32, as its manifest describes it.

    Raises:
        BundleError: A shard is missing, cut off or altered, or they hold a model of another family or size.
    """
    try:
        model = Restorer(ModelConfig.from_dict(manifest["config"]))
        digests = {
            name: str(record["sha256"]) for name, record in manifest["files"].items() if name.startswith(_PREFIX)
        }
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{folder} holds no model that this release reads: {error}") from error
    weights, expected = read_shards(folder, digests), model.state_dict()
    lacking, surplus = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if lacking or surplus:
        raise BundleError(
            f"{folder} holds no whole {model.config.name}: {len(lacking)} tensors are missing {lacking[:2]}, "
            f"{len(surplus)} belong to another model {surplus[:2]}; fetch the base model again."
        )
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise BundleError(
                f"{folder} holds a model of another size: {name} is {tuple(tensor.shape)}; its config "
                f"({model.config.name}) needs {tuple(expected[name].shape)}. Fetch the base model again."
            )
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model
