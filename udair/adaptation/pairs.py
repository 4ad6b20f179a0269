"""Training and test pairs that need no labels of the target: clean scenes, degraded as it is.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import PatchSource, to_array
from udair.data.tasks import make_batch
from udair.metrics import psnr_db
from udair.models.modulation import Modulation
from udair.models.restorer import Restorer

# Clean scenes to degraded ones, and to what a restoration should make of those.
Degrade = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]
GATE_SIDE = 192  # pixels
HARM_DB = 0.1  # a smaller loss is none that anybody sees


@torch.no_grad()
def run(model: Restorer, image_NCHW: Tensor, row: Modulation | None, batch: int = 8, *, tone: Tone = "keep") -> Tensor:
    """Restore equal-sized small images in batches, each whole, as `restore` does; clamped to [0, 1]."""
    return torch.cat([model(part, row, tone=tone).clamp(0, 1) for part in image_NCHW.split(batch)])


def gate_view(image: ImageArray) -> Tensor:
    """The middle of a gate image, (3, H, W) in [0, 1] with sides of at most `GATE_SIDE`."""
    height, width = image.shape[:2]
    tall, wide = min(height, GATE_SIDE), min(width, GATE_SIDE)
    top, left = (height - tall) // 2, (width - wide) // 2
    view = image[top : top + tall, left : left + wide]
    return torch.from_numpy(view.copy()).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class Trial:
    """How one adapter did on held-out pairs.

    Attributes:
        gain_db: Mean PSNR gain over the source model.
        error_db: Standard error of that mean.
        change: Mean absolute difference from the source model's answers.
    """

    gain_db: float
    error_db: float
    change: float


def by_promise(trials: Mapping[str, Trial], least_gain_db: float) -> list[str]:
    """Names of the adapters worth measuring, the one to try first in front.

    The one-standard-error rule (Breiman et al. 1984): of those that cannot be told from the best, the one
    that changes least comes first; the others follow by gain.
    """
    promising = [name for name in trials if trials[name].gain_db >= least_gain_db]
    if not promising:
        return []
    best = max((trials[name] for name in promising), key=lambda trial: trial.gain_db)
    edge_db = best.gain_db - best.error_db

    def rank(name: str) -> tuple[bool, float]:
        trial = trials[name]
        alike = trial.gain_db >= edge_db
        return (False, trial.change) if alike else (True, -trial.gain_db)

    return sorted(promising, key=rank)


@dataclass(frozen=True)
class Pairs:
    """Degraded and clean images of one size, with the source model's answer.

    Attributes:
        degraded_NCHW, clean_NCHW, source_NCHW: RGB in [0, 1].
        tone: The intent with which the clean images are right.
    """

    degraded_NCHW: Tensor
    clean_NCHW: Tensor
    source_NCHW: Tensor
    tone: Tone = "keep"

    @classmethod
    def make(cls, model: Restorer, degraded_NCHW: Tensor, clean_NCHW: Tensor, tone: Tone = "keep") -> Pairs:
        """Pair up and run the source model once, for every candidate to be compared with."""
        return cls(degraded_NCHW, clean_NCHW, run(model, degraded_NCHW, None, tone=tone), tone=tone)

    def gain_of(self, restored_NCHW: Tensor) -> float:
        """Mean PSNR gain of a restoration over the source model's, dB."""
        return float(self._gains_N(restored_NCHW).mean())

    def gain_low_db(self, restored_NCHW: Tensor, *, over_input: bool = False) -> float:
        """Lower 95 % bound over images of the mean PSNR gain over the source model's answer, or over the input, dB."""
        gain_N = self._gains_N(restored_NCHW)
        if over_input:
            gain_N = psnr_db(restored_NCHW, self.clean_NCHW) - psnr_db(self.degraded_NCHW, self.clean_NCHW)
        if len(gain_N) < 2:
            return -math.inf
        return float(gain_N.mean() - 1.96 * gain_N.std() / math.sqrt(len(gain_N)))

    def harmed_share(self, restored_NCHW: Tensor) -> float:
        """Share of images that lose more than `HARM_DB` against the source model's answer."""
        return float((self._gains_N(restored_NCHW) < -HARM_DB).float().mean())

    def gain_db(self, model: Restorer, row: Modulation) -> float:
        """Mean PSNR gain of an adapter over the source model, dB."""
        return self.gain_of(run(model, self.degraded_NCHW, row, tone=self.tone))

    def trial(self, model: Restorer, row: Modulation) -> Trial:
        """What an adapter gains here, how surely, and how much it changes."""
        restored_NCHW = run(model, self.degraded_NCHW, row, tone=self.tone)
        gain_N = self._gains_N(restored_NCHW)
        error_db = float(gain_N.std()) / math.sqrt(len(gain_N)) if len(gain_N) > 1 else math.inf
        return Trial(float(gain_N.mean()), error_db, float((restored_NCHW - self.source_NCHW).abs().mean()))

    def _gains_N(self, restored_NCHW: Tensor) -> Tensor:
        return psnr_db(restored_NCHW, self.clean_NCHW) - psnr_db(self.source_NCHW, self.clean_NCHW)


def crop_scenes(scenes_NCHW: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    """Random crops (count, 3, side, side) of replay scenes."""
    pick = torch.randint(len(scenes_NCHW), (count,), generator=generator)
    height, width = scenes_NCHW.shape[2:]
    corners = torch.rand(count, 2, generator=generator)
    crops = []
    for index, (down, right) in zip(pick.tolist(), corners.tolist(), strict=True):
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        crops.append(scenes_NCHW[index, :, top : top + side, left : left + side])
    return torch.stack(crops)


def as_the_source(tone: Tone) -> Degrade:
    """The degradations of source training for this intent."""

    def degrade(clean_NCHW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = make_batch(photos(clean_NCHW), len(clean_NCHW), clean_NCHW.shape[-1], generator, tone=tone)
        return drawn.degraded_BCHW, drawn.clean_BCHW

    return degrade


def source_pairs(bundle: Bundle, count: int, side: int, seed: int, tone: Tone = "keep") -> Pairs:
    """Held-out scenes with the degradations of source training for this intent, for the do-no-harm check."""
    scenes = photos(bundle.replay_gate_NCHW.float() / 255)
    generator = torch.Generator(bundle.replay_NCHW.device).manual_seed(seed + 1)
    drawn = make_batch(scenes, count, side, generator, tone=tone)
    return Pairs.make(bundle.model, drawn.degraded_BCHW, drawn.clean_BCHW, tone)


def photos(scenes_NCHW: Tensor) -> PatchSource:
    """Replay scenes as a source of random patches."""
    return PatchSource([to_array(scene) for scene in scenes_NCHW], scenes_NCHW.device)
