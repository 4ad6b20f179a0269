"""Clean scenes that adapters are trained and judged on: a domain's references where there are any, else the packaged ones.

Axes: N scenes, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.bundle import Bundle
from udair.data.images import ImageArray
from udair.data.patches import PatchSource
from udair.estimation.looks import Looks
from udair.estimation.tone import pooled, towards_mean

FEWEST_REFERENCES = 8
SIDE = 128  # of a scene that is cut from a reference, pixels
PER_REFERENCE, MOST = 4, 96


@dataclass(frozen=True)
class Scenes:
    """Clean scenes, and how a set of such photographs looks.

    Attributes:
        train_NCHW, gate_NCHW: RGB in [0, 1]; those of the gate are of other pictures, and no adapter trains on them.
        looks: Of whole pictures.
        pixels_PC: Their levels, for a tone curve.
        references: Whether they are the domain's own.
    """

    train_NCHW: Tensor
    gate_NCHW: Tensor
    looks: Looks
    pixels_PC: Tensor
    references: bool = False

    @classmethod
    def packaged(cls, bundle: Bundle) -> Scenes:
        """The scenes that come with the base model."""
        train, gate = (scenes.float() / 255 for scenes in (bundle.replay_train_NCHW, bundle.replay_gate_NCHW))
        every = torch.cat([train, gate]).cpu()
        pixels_PC = every[:, :, ::2, ::2].permute(0, 2, 3, 1).reshape(-1, 3)
        return cls(train, gate, Looks.of(list(every)), pixels_PC)

    @classmethod
    def of(cls, references: Sequence[ImageArray], generator: torch.Generator, device: torch.device | str) -> Scenes:
        """Cut scenes from references, every fourth picture of which is for the gate."""
        gate = list(references[3::4])
        train = [image for index, image in enumerate(references) if index % 4 != 3]
        cut = [
            PatchSource(images, device).crops(min(MOST, PER_REFERENCE * len(images)), SIDE, generator)
            for images in (train, gate)
        ]
        return cls(cut[0], cut[1], Looks.of(references), pooled(references), True)

    def at_mean(self, mean: float | None) -> Scenes:
        """The same, with the mean brightness that a person asks for; None changes nothing."""
        if mean is None:
            return self
        parts = []
        for scenes in (self.train_NCHW, self.gate_NCHW):
            flat = scenes.permute(0, 2, 3, 1).reshape(-1, 3)
            parts.append(
                towards_mean(flat, mean).view(scenes.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2).contiguous()
            )
        looks = Looks.of(list(torch.cat(parts).cpu()))
        return Scenes(parts[0], parts[1], looks, towards_mean(self.pixels_PC, mean), self.references)
