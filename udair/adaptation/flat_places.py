"""What a restoration leaves in the flat places of a picture, and what it takes out of the busy ones.

Flat places hold nothing but noise. An adapter that leaves as much in them as the base model does has nothing
to gain there, and can only smooth what is not flat; one that takes more out of busy places alone takes texture.

Axes: N images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 9  # pixels
FLAT, BUSY = 0.3, 0.2  # shares of a picture's pixels
BOOTSTRAPS = 400
LEAST_ENERGY = (0.05 / 255) ** 2  # of a change that is not rounding


@dataclass(frozen=True)
class TakenOut:
    """Mean energies of what is fine, per image.

    Attributes:
        flat_N: Of the change in the flattest places.
        busy_N: Of the change in the busiest.
        held_N: Of what the flattest places held.
        left_N: Of what is left in them.
    """

    flat_N: Tensor
    busy_N: Tensor
    held_N: Tensor
    left_N: Tensor

    def left_share(self) -> float:
        """How much of what flat places held is left; above 1 where the restoration sharpens noise."""
        return float(self.left_N.sum() / self.held_N.sum().clamp(min=LEAST_ENERGY))

    def flat_gain_low(self, base: TakenOut, seed: int) -> float:
        """Share of what flat places held that is gone here and is left by the base model: lower 95 % bound over images."""
        generator = torch.Generator().manual_seed(seed)
        count = len(self.left_N)
        if not count:
            return 0.0
        pick = torch.randint(count, (BOOTSTRAPS, count), generator=generator)
        gone = (base.left_N - self.left_N)[pick].sum(1) / self.held_N[pick].sum(1).clamp(min=LEAST_ENERGY)
        return float(torch.quantile(gone, 0.025))

    def busy_change(self, base: TakenOut) -> float:
        """Busy over flat energy, in units of the base model's."""

        def tilt(one: TakenOut) -> Tensor:
            return (one.busy_N.sum() + LEAST_ENERGY) / (one.flat_N.sum() + LEAST_ENERGY)

        return float(tilt(self) / tilt(base))


@torch.no_grad()
def taken_out(images: Sequence[Tensor], base: Sequence[Tensor], restored: Sequence[Tensor]) -> TakenOut:
    """Compare pictures with a restoration of them.

    Args:
        images: As they came, (C, H, W) in [0, 1].
        base: What the base model makes of them: says where they are flat.
        restored: What is looked at.
    """
    rows = []
    for image, plain, after in zip(images, base, restored, strict=True):
        spread = _spread(plain)
        flat, busy = spread <= _quantile(spread, FLAT), spread >= _quantile(spread, 1 - BUSY)
        change, whole = _fine((image - after).mean(0)).square(), _fine(image.mean(0)).square()
        left = _fine(after.mean(0)).square()
        rows.append(torch.stack([change[flat].mean(), change[busy].mean(), whole[flat].mean(), left[flat].mean()]))
    table_N4 = torch.stack(rows) if rows else torch.zeros(0, 4)
    return TakenOut(*table_N4.cpu().unbind(1))


@torch.no_grad()
def borne_out(image_CHW: Tensor, restored_CHW: Tensor) -> float:
    """Share, 0 to 1, of a restoration's change that leaves least in the picture's flattest places; 1 where it is too small to say."""
    if min(image_CHW.shape[1:]) < WINDOW:
        return 1.0
    spread = _spread(restored_CHW)
    flat = spread <= _quantile(spread, FLAT)
    held, change = _fine(image_CHW.mean(0))[flat], _fine((restored_CHW - image_CHW).mean(0))[flat]
    energy = float(change.square().mean())
    return 1.0 if energy < LEAST_ENERGY else min(1.0, max(0.0, float(-(held * change).mean()) / energy))


def _spread(image_CHW: Tensor) -> Tensor:
    """Energy of what is fine around each pixel (H, W)."""
    fine_11HW = _fine(image_CHW.mean(0)).square()[None, None]
    spread_HW: Tensor = F.avg_pool2d(F.pad(fine_11HW, (WINDOW // 2,) * 4, mode="reflect"), WINDOW, 1)[0, 0]
    return spread_HW


def _fine(plane_HW: Tensor) -> Tensor:
    padded = F.pad(plane_HW[None, None], (WINDOW // 2,) * 4, mode="reflect")
    return plane_HW - F.avg_pool2d(padded, WINDOW, 1)[0, 0]


def _quantile(plane_HW: Tensor, share: float) -> Tensor:
    ordered = plane_HW.flatten().sort().values
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
