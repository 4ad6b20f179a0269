"""A training run on disk: tensors in shards, then the clock that names and hashes every shard.

The clock is written last, so a folder without one, or with a shard that does not hash to what the
clock says, holds no checkpoint: an upload that broke half-way cannot be mistaken for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from udair.errors import BundleError
from udair.weights.shards import read_shards, write_shards

CLOCK = "checkpoint.json"
SHARD = "checkpoint-{:02}.safetensors"


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], clock: Mapping[str, Any]) -> None:
    """Write tensors and clock; whatever checkpoint the folder held before is replaced.

    Args:
        folder: Made if it is not there.
        tensors: Name to tensor.
        clock: JSON-ready facts of the run.
    """
    shards = write_shards(folder, SHARD, tensors)
    temporary = folder / f"{CLOCK}.part"
    temporary.write_text(json.dumps({**clock, "shards": shards}, indent=1))
    temporary.replace(folder / CLOCK)


def read_checkpoint(folder: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the clock that `write_checkpoint` wrote.

    Raises:
        BundleError: There is no complete checkpoint.
    """
    try:
        clock: dict[str, Any] = json.loads((folder / CLOCK).read_text())
        tensors = read_shards(folder, clock["shards"], device)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, BundleError) as error:
        raise BundleError(f"{folder} holds no complete checkpoint ({error}); train from the start.") from error
    return tensors, clock
