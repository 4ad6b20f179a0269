"""What a restoration takes out of the flat places of a picture, and what out of the busy ones.

Flat places hold nothing but noise. An adapter that takes no more out of them than the base model does has nothing
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
    """Mean energy of the fine part of the change, per image.

    Attributes:
        flat_N: In the flattest places.
        busy_N: In the busiest.
        all_flat_N: Of everything fine that the flattest places hold.
    """

    flat_N: Tensor
    busy_N: Tensor
    all_flat_N: Tensor

    def share_of_flat(self) -> float:
        """How much of what flat places hold was taken out: near 1 where nothing is left."""
        return float(self.flat_N.sum() / self.all_flat_N.sum().clamp(min=LEAST_ENERGY))

    def flat_ratio_low(self, base: TakenOut, seed: int) -> float:
        """How many times the base model's energy was taken out of flat places: lower 95 % bound over images."""
        generator = torch.Generator().manual_seed(seed)
        count = len(self.flat_N)
        if not count:
            return 0.0
        pick = torch.randint(count, (BOOTSTRAPS, count), generator=generator)
        ratio = (self.flat_N[pick].sum(1) + LEAST_ENERGY) / (base.flat_N[pick].sum(1) + LEAST_ENERGY)
        return float(torch.quantile(ratio, 0.025))

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
        spread = _fine(plain.mean(0)).square()
        spread = F.avg_pool2d(F.pad(spread[None, None], (WINDOW // 2,) * 4, mode="reflect"), WINDOW, 1)[0, 0]
        flat, busy = spread <= _quantile(spread, FLAT), spread >= _quantile(spread, 1 - BUSY)
        change, whole = _fine((image - after).mean(0)).square(), _fine(image.mean(0)).square()
        rows.append(torch.stack([change[flat].mean(), change[busy].mean(), whole[flat].mean()]))
    table_N3 = torch.stack(rows) if rows else torch.zeros(0, 3)
    return TakenOut(*table_N3.cpu().unbind(1))


def _fine(plane_HW: Tensor) -> Tensor:
    padded = F.pad(plane_HW[None, None], (WINDOW // 2,) * 4, mode="reflect")
    return plane_HW - F.avg_pool2d(padded, WINDOW, 1)[0, 0]


def _quantile(plane_HW: Tensor, share: float) -> Tensor:
    ordered = plane_HW.flatten().sort().values
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
