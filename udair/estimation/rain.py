"""Which way rain falls in a set of photographs.

Streaks are brighter than what is behind them and lie side by side; edges of a scene are as often dark as bright. So what
bright details do along a line that dark ones do not is rain, where many pictures agree.

Axes: N images, H x W pixels, A angles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.data.images import ImageArray
from udair.data.patches import to_tensor

SIDE = 192  # of the middle that is looked at, pixels
MOST_IMAGES = 48
NEAR, FAR = 3, 14  # lags along a streak, pixels
WIDE = 4.0  # deviation of the blur that stands for the scene, pixels
STEP_DEG = 1.0
TOLD = 6.0  # height of the peak over its surroundings, in median absolute deviations, from which there is rain
LEAST_EXCESS = 0.016  # of bright details over dark ones along the streaks, in units of the variance of both
FEWEST = 4


@dataclass(frozen=True)
class Rain:
    """How rain falls.

    Attributes:
        direction_deg: From the vertical, positive where streaks lean to the right towards the ground; -90 to 90.
        sureness: Height of the peak, in deviations of the other directions.
        excess: How much more alike bright details are along it than dark ones, in units of their variance.
        images: That were looked at.
    """

    direction_deg: float
    sureness: float
    excess: float
    images: int

    @property
    def told(self) -> bool:
        """Whether it rains; else the direction means nothing."""
        return self.sureness >= TOLD and self.excess >= LEAST_EXCESS

    def describe(self) -> str:
        """One line for people."""
        if not self.told:
            return "Rain: none that falls one way."
        return (
            f"Rain: falls {abs(self.direction_deg):.0f} degrees from the vertical, to the "
            f"{'right' if self.direction_deg >= 0 else 'left'}, as {self.images} images show."
        )


def rain(images: Sequence[ImageArray]) -> Rain | None:
    """Look for streaks of one direction; None where there are too few pictures to say.

    Args:
        images: (H, W, 3) uint8.
    """
    chosen = [image for image in images if min(image.shape[:2]) >= 4 * FAR]
    chosen = chosen[:: max(1, math.ceil(len(chosen) / MOST_IMAGES))]
    if len(chosen) < FEWEST:
        return None
    excess = torch.stack([_excess(image) for image in chosen]).median(0).values
    centre = excess.shape[0] // 2
    angles_A = torch.arange(-90.0, 90.0, STEP_DEG)
    lags = torch.arange(float(NEAR), FAR + 1)
    right, down = torch.sin(angles_A.deg2rad())[:, None] * lags, torch.cos(angles_A.deg2rad())[:, None] * lags
    grid = torch.stack([right, down], 2) / centre
    along_A = F.grid_sample(excess[None, None], grid[None], align_corners=True)[0, 0].mean(1)
    middle = along_A.median()
    deviation = (along_A - middle).abs().median().clamp(min=1e-6)
    peak = int(along_A.argmax())
    # The centre of the peak's upper half: streaks differ by a few degrees.
    turned = torch.roll(along_A - middle, 90 - peak)[75:106].clamp(min=0)
    upper = (turned - 0.5 * turned.max()).clamp(min=0)
    shift = float((upper * torch.arange(-15.0, 16.0)).sum() / upper.sum().clamp(min=1e-9))
    direction = float(angles_A[peak]) + shift * STEP_DEG
    return Rain(
        (direction + 90) % 180 - 90, float((along_A[peak] - middle) / deviation), float(along_A[peak]), len(chosen)
    )


def _excess(image: ImageArray) -> Tensor:
    """Autocorrelation of bright details less that of dark ones, at lags of -FAR to FAR pixels."""
    height, width = image.shape[:2]
    tall, wide = min(height, SIDE), min(width, SIDE)
    top, left = (height - tall) // 2, (width - wide) // 2
    plane = to_tensor([image[top : top + tall, left : left + wide]]).mean(1, keepdim=True)
    reach = int(3 * WIDE)
    axis = torch.arange(-reach, reach + 1.0)
    line = torch.exp(-axis.square() / (2 * WIDE**2))
    kernel = (line[:, None] * line[None]) / line.sum() ** 2
    detail = (plane - F.conv2d(F.pad(plane, (reach,) * 4, mode="reflect"), kernel[None, None]))[0, 0]
    detail = detail / detail.abs().mean().clamp(min=1e-4)
    parts = []
    for side in (detail.clamp(0, 6), (-detail).clamp(0, 6)):
        spectrum = torch.fft.rfft2(side - side.mean(), s=(2 * tall, 2 * wide))
        lagged = torch.fft.irfft2(spectrum.abs().square(), s=(2 * tall, 2 * wide)) / (tall * wide)
        parts.append(torch.fft.fftshift(lagged)[tall - FAR : tall + FAR + 1, wide - FAR : wide + FAR + 1])
    bright, dark = parts
    excess: Tensor = (bright - dark) / (bright[FAR, FAR] + dark[FAR, FAR]).clamp(min=1e-6)
    return excess
