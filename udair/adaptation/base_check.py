"""Whether the base model does better than doing nothing on a domain, from its images alone.

One ground is judged: where tone is to be kept, low frequencies must stay where they are. What a restored tone should
look like, and whether what was taken out was damage, pixels alone do not say; those are reported by the gate's evidence.

Axes: C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.bundle import Bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import to_tensor
from udair.inference import restore

CELL = 32  # side of the cells whose means are low frequencies, pixels
MOST_SHIFT = 6 / 255  # of a cell's mean; larger ones are seen when pictures are put side by side
MOST_IMAGES = 16


@dataclass(frozen=True)
class BaseCheck:
    """How the base model compares with doing nothing.

    Attributes:
        images: That were looked at.
        tone_shift_low: Lower 95 % bound, over images, of the mean change of a cell's mean, in [0, 1].
        tone: The intent that it was run with.
    """

    images: int
    tone_shift_low: float
    tone: Tone

    @property
    def reason(self) -> str:
        """Why the domain is better served as it came; empty if it is not."""
        if self.tone != "keep" or self.tone_shift_low <= MOST_SHIFT:
            return ""
        return (
            f"the base model moves exposure or colour by {255 * self.tone_shift_low:.0f} of 255 levels or more "
            f"on {self.images} images, although tone is kept"
        )


def tone_shift(before_CHW: Tensor, after_CHW: Tensor) -> float:
    """Mean change of the means of cells, in [0, 1]."""
    moved_1CHW = (after_CHW - before_CHW)[None]
    return float(F.avg_pool2d(moved_1CHW, min(CELL, *moved_1CHW.shape[2:])).abs().mean())


@torch.inference_mode()
def check_base(bundle: Bundle, images: Sequence[ImageArray], tone: Tone) -> BaseCheck:
    """Compare the base model's answers with the images themselves.

    Args:
        bundle: The base model.
        images: (H, W, 3) uint8 arrays of the domain; at most `MOST_IMAGES` of them are restored.
        tone: The domain's intent.
    """
    chosen = images[:: max(1, math.ceil(len(images) / MOST_IMAGES))]
    shifts = []
    for image in chosen:
        image_CHW = to_tensor([image])[0]
        shifts.append(tone_shift(image_CHW, restore(bundle.model, image_CHW, tone=tone)))
    spread = float(torch.tensor(shifts).std()) if len(shifts) > 1 else 0.0
    mean = sum(shifts) / len(shifts) if shifts else 0.0
    return BaseCheck(len(shifts), max(0.0, mean - 1.96 * spread / math.sqrt(max(1, len(shifts)))), tone)
