"""A base model on disk: weights, source statistics, replay set, and a manifest written last.

    model-00.safetensors, …   weights of the restorer, in shards of at most 16 MB
    source_stats.safetensors  what the source domain looks like to it
    replay.safetensors        clean scenes, uint8, for matching, adapter training and the gate
    bundle.json               name, config, SHA-256 of each file, digest of all; its presence is the commit

Axes: N scenes, C channels, H x W pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import udair
from udair.errors import BundleError
from udair.models.restorer import Restorer
from udair.models.stored import read_model, write_model
from udair.source_stats import SourceStats
from udair.weights import MANIFEST, read_manifest

STATS, REPLAY = "source_stats.safetensors", "replay.safetensors"
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Bundle:
    """A base model, ready to use.

    Attributes:
        name: E.g. ``udair-tiny``.
        digest: SHA-256 over the files' hashes; adapters are bound to it.
        model: In evaluation mode, gradients off.
        stats: Source statistics.
        replay_NCHW: Clean scenes, uint8; the last quarter is for the gate alone.
        manifest: Everything that `bundle.json` says.
    """

    name: str
    digest: str
    model: Restorer
    stats: SourceStats
    replay_NCHW: Tensor
    manifest: dict[str, Any]

    @property
    def replay_train_NCHW(self) -> Tensor:
        """Scenes that adapters may train on."""
        return self.replay_NCHW[: len(self.replay_NCHW) * 3 // 4]

    @property
    def replay_gate_NCHW(self) -> Tensor:
        """Scenes that no adapter trains on: the gate measures PSNR here."""
        return self.replay_NCHW[len(self.replay_NCHW) * 3 // 4 :]


def save_bundle(
    folder: Path,
    name: str,
    model: Restorer,
    stats: SourceStats,
    replay_NCHW: Tensor,
    card: Mapping[str, Any] | None = None,
) -> str:
    """Write a base model, the manifest last; returns its digest.

    Matrices are stored as bfloat16: half the size, and what loads is what was scored if the caller scores
    the loaded bundle.

    Args:
        folder: Made if it is not there; a manifest found there is removed first.
        name: What the base model is called.
        model, stats, replay_NCHW: Its parts; replay is (N, 3, H, W) uint8.
        card: Further JSON-ready facts: data, recipe, scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    shards = write_model(folder, model)
    save_file({n: t.cpu().contiguous() for n, t in stats.to_tensors().items()}, folder / STATS)
    save_file({"replay_NCHW": replay_NCHW.cpu().contiguous()}, folder / REPLAY)
    files = {file: _record(folder / file) for file in (*shards, STATS, REPLAY)}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "digest": _digest(files),
        "config": model.config.to_dict(),
        "files": files,
        "code_version": udair.__version__,
        "card": dict(card or {}),
    }
    temporary = folder / f"{MANIFEST}.part"
    temporary.write_text(json.dumps(manifest, indent=1))
    temporary.replace(folder / MANIFEST)
    return str(manifest["digest"])


def load_bundle(
    folder: Path,
    expected_digest: str | None = None,
    device: torch.device | str = "cpu",
    *,
    replay: bool = True,
) -> Bundle:
    """Load and verify a base model.

    Args:
        folder: Where `save_bundle` wrote.
        expected_digest: Refuse any other base model.
        device: Where the model and its statistics go.
        replay: Keep the replay set, too; serving does without.

    Raises:
        BundleError: No manifest, a file that is missing or whose hash differs, another digest than expected, or
            a model of another family or size than this release reads.
    """
    manifest = read_manifest(folder)
    for file, record in manifest["files"].items():
        path = folder / file
        found = _record(path) if path.is_file() else None
        if found != record:
            raise BundleError(
                f"{path} does not match its manifest: sha256 is {found['sha256'][:12] if found else 'missing'}, "
                f"expected {record['sha256'][:12]}; fetch the base model again."
            )
    digest = str(manifest["digest"])
    if digest != _digest(manifest["files"]):
        raise BundleError(
            f"{folder / MANIFEST} names digest {digest[:12]}, which its files do not give; it was altered."
        )
    if expected_digest is not None and digest != expected_digest:
        raise BundleError(f"{folder} holds base model {digest[:12]}; expected {expected_digest[:12]}.")
    model = read_model(folder, manifest)
    try:
        stats = SourceStats.from_tensors(load_file(folder / STATS, device=str(device)))
        replay_NCHW = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        if replay:
            replay_NCHW = load_file(folder / REPLAY, device=str(device))["replay_NCHW"]
    except (SafetensorError, OSError, KeyError) as error:
        raise BundleError(f"{folder} cannot be loaded: {error}; fetch the base model again.") from error
    model = model.to(device).eval().requires_grad_(False)
    return Bundle(str(manifest["name"]), digest, model, stats, replay_NCHW, manifest)


def _record(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
