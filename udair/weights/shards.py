"""Tensors on disk in files of a bounded size, each known by its hash.

Half a file, an altered one or a missing one is noticed before a tensor of it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from udair.errors import BundleError

SHARD_BYTES = 15 * 2**20  # small enough for repositories and for what moves checkpoints between leased machines


def write_shards(folder: Path, pattern: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Write tensors to files of about `SHARD_BYTES` at most; each file's name and SHA-256.

    Args:
        folder: Made if it is not there.
        pattern: Name of a file, with a place for its number: `model-{:02}.safetensors`.
        tensors: Name to tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    for index, shard in enumerate(_shards(tensors)):
        path = folder / pattern.format(index)
        save_file(shard, path)
        written[path.name] = _sha256(path)
    return written


def read_shards(folder: Path, digests: Mapping[str, str], device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of every file that `write_shards` named.

    Raises:
        BundleError: A file is missing, cut off, or not the one that was written.
    """
    tensors: dict[str, Tensor] = {}
    for name, digest in digests.items():
        path = folder / name
        if Path(name).name != name:
            raise BundleError(f"shard is called {name!r}; expected the name of a file in {folder}.")
        found = _sha256(path) if path.is_file() else "missing"
        if found != digest:
            raise BundleError(
                f"{path} is not the shard that was written: sha256 is {found[:12]}, expected {digest[:12]}."
            )
        try:
            tensors |= load_file(path, device=str(device))
        except (OSError, SafetensorError) as error:
            raise BundleError(f"{path} cannot be read: {error}.") from error
    return tensors


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
