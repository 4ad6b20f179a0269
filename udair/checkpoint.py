"""A training run on disk: tensors in shards, then the clock that names and hashes every shard.

The clock is written last, so a folder without one, or with a shard that does not hash to what the
clock says, holds no checkpoint: an upload that broke half-way cannot be mistaken for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from udair.errors import BundleError

CLOCK = "checkpoint.json"
SHARD = "checkpoint-{:02}.safetensors"
SHARD_BYTES = 15 * 2**20  # small enough for what moves checkpoints between leased machines


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], clock: Mapping[str, Any]) -> None:
    """Write tensors and clock; whatever checkpoint the folder held before is replaced.

    Args:
        folder: Made if it is not there.
        tensors: Name to tensor.
        clock: JSON-ready facts of the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards: dict[str, str] = {}
    for index, shard in enumerate(_shards(tensors)):
        path = folder / SHARD.format(index)
        save_file(shard, path)
        shards[path.name] = _sha256(path)
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
        tensors: dict[str, Tensor] = {}
        for name, digest in clock["shards"].items():
            if Path(name).name != name or _sha256(folder / name) != digest:
                raise ValueError(f"{name} is not the shard that the clock names")
            tensors |= load_file(folder / name, device=str(device))
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise BundleError(f"{folder} holds no complete checkpoint ({error}); train from the start.") from error
    return tensors, clock


def _shards(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        if used + tensor.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][name] = tensor.contiguous()
        used += tensor.nbytes
    return shards


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
