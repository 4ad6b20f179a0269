"""How a set of photographs looks as a whole: exposure, contrast and colour, and how far that is from another set.

Sets of photographs that were drawn at random lie within 0.8 of each other (8 pictures) or 0.3 (24), in 99 of 100 draws.

Axes: N images, S statistics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.data.images import ImageArray
from udair.data.patches import to_tensor

FLOOR = 0.02  # of a channel's mean, so that black has a colour


@dataclass(frozen=True)
class Looks:
    """Statistics of each image of a set.

    Attributes:
        statistic_NS: 2 %, 50 % and 98 % of luminance, its mean, its relative contrast, and the logarithms of red and of
            blue over green.
    """

    statistic_NS: Tensor

    @classmethod
    def of(cls, images: Sequence[ImageArray] | Sequence[Tensor]) -> Looks:
        """Of (H, W, 3) uint8 arrays or (3, H, W) tensors in [0, 1]."""
        rows = []
        for image in images:
            image_CHW = image.float().cpu() if isinstance(image, Tensor) else to_tensor([image])[0]
            grey_HW = image_CHW.mean(0)
            ordered = grey_HW.flatten().sort().values
            low, middle, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.02, 0.5, 0.98))
            red, green, blue = (image_CHW.mean((1, 2)) + FLOOR).log()
            mean = grey_HW.mean()
            contrast = grey_HW.std() / (mean + FLOOR)
            rows.append(torch.stack([low, middle, high, mean, contrast, red - green, blue - green]))
        return cls(torch.stack(rows))

    def __len__(self) -> int:
        return len(self.statistic_NS)

    @property
    def mean(self) -> float:
        """Mean brightness of the set, in [0, 1]."""
        return float(self.statistic_NS[:, 3].mean())

    def pick(self, index_N: Tensor) -> Looks:
        """Some of the images; one may be taken many times."""
        return Looks(self.statistic_NS[index_N])

    def unlike(self, other: Looks, scale_S: Tensor) -> float:
        """Energy distance between two sets (Székely & Rizzo 2013), unbiased, in units of `scale_S`; near 0 where alike.

        Args:
            other: The other set.
            scale_S: How much photographs vary: the deviation of each statistic.
        """
        here, there = self.statistic_NS / scale_S, other.statistic_NS / scale_S
        within = sum(float(torch.cdist(x, x).sum()) / max(1, len(x) * (len(x) - 1)) for x in (here, there))
        return 2 * float(torch.cdist(here, there).mean()) - within

    def surely_farther(self, nearer: Looks, other: Looks, scale_S: Tensor) -> float:
        """How much farther this set lies from `other` than the same pictures differently restored do: lower 95 % bound.

        Source: jackknife over images, Efron & Tibshirani 1993.
        """
        count = len(self)
        if count < 3:
            return -math.inf

        def gain(kept_N: Tensor) -> float:
            return self.pick(kept_N).unlike(other, scale_S) - nearer.pick(kept_N).unlike(other, scale_S)

        every_N = torch.arange(count)
        gain_N = torch.tensor([gain(every_N[every_N != index]) for index in range(count)])
        error = math.sqrt((count - 1) / count * float((gain_N - gain_N.mean()).square().sum()))
        return gain(every_N) - 1.645 * error
