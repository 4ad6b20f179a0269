"""Real pairs, degraded and clean, beside the synthetic degradations.

A folder holds one folder a class (`haze`, `rain`, `noise`, …, or a name from `ALIASES`), each with
`input/` and `target/` of the same file stems.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from udair.data.images import ImageArray, decode
from udair.data.patches import SUFFIXES, PatchSource
from udair.errors import ConfigError

ALIASES = {"dehaze": "haze", "derain": "rain", "denoise": "noise", "denoise_real": "noise", "deblur": "blur"}
# A layer of light that was added to one photograph may be added to any other.
ADDITIVE = ("rain",)


class PairSource:
    """Random patches of real pairs by class.

    Args:
        pairs: Class to (degraded, clean) arrays (H, W, 3) uint8 of equal sizes.
        device: Where pixels stay.

    Raises:
        ConfigError: A pair's images differ in size.
    """

    def __init__(
        self, pairs: dict[str, list[tuple[ImageArray, ImageArray]]], device: torch.device | str = "cpu"
    ) -> None:
        self._stacks: dict[str, PatchSource] = {}
        for name, items in pairs.items():
            for degraded, clean in items:
                if degraded.shape != clean.shape:
                    raise ConfigError(f"a pair of {name} has sizes {degraded.shape} and {clean.shape}; expected equal.")
            self._stacks[name] = PatchSource.of_layers(items, device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes that have pairs."""
        return tuple(self._stacks)

    def crops(self, name: str, batch: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Degraded and clean patches (B, 3, side, side) of one class, in [0, 1]."""
        degraded, clean = self._stacks[name].crops(batch, side, generator).split(3, 1)
        return degraded, clean

    def transplant(self, name: str, clean_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Add the light that real pairs of an additive class carry to other clean patches."""
        degraded, clean = self.crops(name, len(clean_BCHW), clean_BCHW.shape[-1], generator)
        return (clean_BCHW + (degraded - clean).clamp(min=0)).clamp(0, 1)


def read_pairs(folder: Path, device: torch.device | str = "cpu") -> PairSource:
    """Read `<folder>/<class>/{input,target}`.

    Raises:
        ConfigError: No class folder, an input without a target, or sizes that differ.
        ImageError: An image cannot be decoded.
    """
    pairs: dict[str, list[tuple[ImageArray, ImageArray]]] = {}
    for task in sorted(p for p in folder.iterdir() if (p / "input").is_dir()):
        targets = {p.stem: p for p in (task / "target").iterdir() if p.suffix.lower() in SUFFIXES}
        found = pairs.setdefault(ALIASES.get(task.name, task.name), [])
        for path in sorted(p for p in (task / "input").iterdir() if p.suffix.lower() in SUFFIXES):
            if path.stem not in targets:
                raise ConfigError(f"{path} has no target of the same name in {task / 'target'}.")
            found.append((decode(path.read_bytes()), decode(targets[path.stem].read_bytes())))
    if not pairs:
        raise ConfigError(f"{folder} holds no pairs; expected <class>/input and <class>/target.")
    return PairSource(pairs, device)
