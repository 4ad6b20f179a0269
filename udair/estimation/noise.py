"""The noise of a set of photographs, read off where they show nothing else: their flattest places.

No model is asked, since what a model leaves in is just what is missing from what it takes out. The bank holds
how strong the noise is at each brightness, how it is correlated over pixels and channels, and how flat the places
were that it rests on: with few flat places texture goes into the bank, and it says so.

Axes: N patches, C channels, H x W pixels, K knots of brightness, s side of a patch.

Source: noise level functions from flat blocks, Liu et al. 2006 and Pyatykh et al. 2013; ours is the covariance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from udair.data.images import ImageArray
from udair.data.patches import to_tensor

SIDE = 32  # of a patch, pixels
STRIDE = 16
WIDE = 8.0  # deviation of the blur that stands for the scene behind the noise, pixels
REACH = 10  # lags of the autocovariance that are kept, pixels: noise is not correlated further
KNOTS = 8
CLIPPED = 0.02  # share of values at 0 or 1 above which a patch has lost the tails of its noise
# Where too few patches have kept them: the noise between its tenths is told by patches with so many values at 0 or 1.
CENSORED = 0.1
_TENTHS = 2.5631  # between the first and the last tenth of a Gaussian, in its deviations
LEAST_PATCHES = 12
MOST_PATCHES = 2000


@dataclass(frozen=True)
class NoiseBank:
    """Residuals of flat places.

    Attributes:
        residual_NCss: What a wide blur leaves of each patch.
        colour_NC: Mean of each patch, in [0, 1].
        images: Number of images that they come from.
        evenness: Level of the noisiest quarter over that of the calmest, at equal brightness: near 1 where the places
            hold noise alone, larger where texture came along.
    """

    residual_NCss: Tensor
    colour_NC: Tensor
    images: int
    evenness: float

    @cached_property
    def level_NC(self) -> Tensor:
        """Standard deviation of each patch, in [0, 1]."""
        return self.residual_NCss.std((2, 3)).clamp(min=1e-5)

    @cached_property
    def curve(self) -> tuple[Tensor, Tensor]:
        """Brightness (K, C) and the level (K, C) there."""
        order_NC = self.colour_NC.argsort(0)
        knots = min(KNOTS, max(1, len(order_NC) // 6))
        parts = [part for part in order_NC.tensor_split(knots) if len(part)]
        bright_KC = torch.stack([self.colour_NC.gather(0, part).mean(0) for part in parts])
        level_KC = torch.stack([self.level_NC.gather(0, part).median(0).values for part in parts])
        return bright_KC, level_KC

    @property
    def level(self) -> float:
        """Typical standard deviation, mean of the channels, in [0, 1]."""
        return float(self.level_NC.median(0).values.mean())

    @cached_property
    def covariance_CCll(self) -> Tensor:
        """Correlation between channels at lags of -REACH to REACH pixels; 1 at no lag."""
        side = self.residual_NCss.shape[-1]
        unit_NCss = self.residual_NCss / self.level_NC[:, :, None, None]
        unit_NCss = unit_NCss - unit_NCss.mean((2, 3), keepdim=True)
        spectrum = torch.fft.fft2(unit_NCss, s=(2 * side, 2 * side))
        lagged = torch.fft.ifft2(torch.einsum("nchw,ndhw->cdhw", spectrum, spectrum.conj())).real / len(unit_NCss)
        kept = slice(side - REACH, side + REACH + 1)
        lagged = torch.fft.fftshift(lagged, dim=(2, 3))[:, :, kept, kept]
        lag = torch.arange(-REACH, REACH + 1, device=lagged.device).abs()
        pairs = (side - lag)[:, None] * (side - lag)[None, :]
        # Triangular weights keep the spectrum of what is cut off positive.
        taper = (1 - lag / (REACH + 1))[:, None] * (1 - lag / (REACH + 1))[None, :]
        correlation: Tensor = lagged / pairs * taper
        return correlation

    @property
    def correlation_px(self) -> float:
        """Deviation of the Gaussian that correlates as the noise does with its neighbour, pixels."""
        beside = self.covariance_CCll[:, :, REACH, REACH + 1].diagonal().mean() / (1 - 1 / (REACH + 1))
        near = float(beside.clamp(1e-3, 0.99))
        return 0.5 / math.sqrt(-math.log(near)) if near > 0.02 else 0.0

    def fields(self, batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Gaussian noise (batch, C, height, width) with the bank's covariance; each channel's deviation is 1."""
        tall, wide = (max(side, 2 * REACH + 2) for side in (height, width))
        channels = len(self.covariance_CCll)
        around = torch.zeros(channels, channels, tall, wide, device=self.residual_NCss.device)
        lags = 2 * REACH + 1
        around[:, :, :lags, :lags] = self.covariance_CCll
        power = torch.fft.fft2(around.roll((-REACH, -REACH), (2, 3))).permute(2, 3, 0, 1)
        power = (power + power.mH) / 2
        values, vectors = torch.linalg.eigh(power)
        root = vectors @ torch.diag_embed(values.clamp(min=0).sqrt().to(vectors.dtype)) @ vectors.mH
        white = torch.randn(batch, channels, tall, wide, generator=generator, device=generator.device)
        coloured = torch.fft.ifft2(torch.einsum("hwcd,bdhw->bchw", root, torch.fft.fft2(white.to(root.device)))).real
        deviation = self.covariance_CCll[:, :, REACH, REACH].diagonal().clamp(min=1e-6).sqrt()
        unit: Tensor = coloured[:, :, :height, :width] / deviation[None, :, None, None]
        return unit

    def levels(self, clean_BCHW: Tensor) -> Tensor:
        """Deviation of the noise at each pixel of clean images, between the knots; beyond them as at the last."""
        bright_KC, level_KC = (knots.to(clean_BCHW.device) for knots in self.curve)
        parts = []
        for channel in range(clean_BCHW.shape[1]):
            x, bright, level = clean_BCHW[:, channel], bright_KC[:, channel].contiguous(), level_KC[:, channel]
            above = torch.searchsorted(bright, x.contiguous()).clamp(1, max(1, len(bright) - 1))
            if len(bright) == 1:
                parts.append(level.expand_as(x))
                continue
            low, high = bright[above - 1], bright[above]
            share = ((x - low) / (high - low).clamp(min=1e-4)).clamp(0, 1)
            parts.append(level[above - 1].lerp(level[above], share))
        return torch.stack(parts, 1)

    def degrade(self, clean_BCHW: Tensor, generator: torch.Generator, strength: Tensor | float = 1.0) -> Tensor:
        """Clean images with the bank's noise, in [0, 1]."""
        batch, _, height, width = clean_BCHW.shape
        noise = self.fields(batch, height, width, generator)
        return (clean_BCHW + strength * self.levels(clean_BCHW) * noise.to(clean_BCHW.device)).clamp(0, 1)


def noise_bank(images: Sequence[ImageArray], flattest: float = 0.05) -> NoiseBank | None:
    """The noise of a set of images, from the flattest share of their patches at each brightness.

    Args:
        images: (H, W, 3) uint8 arrays.
        flattest: Share of all patches that is taken: few are flatter, many are more varied.

    Returns:
        None where there are too few patches to say, or what they hold has been cut off at 0 and 1.
    """
    residuals, colours, shares, image_of = [], [], [], []
    for index, image in enumerate(images):
        if min(image.shape[:2]) < SIDE:
            continue
        plane = to_tensor([image])
        patches, colour = _patches(plane - _blurred(plane, WIDE)), _patches(plane)
        clipped = ((colour <= 0) | (colour >= 1)).float().mean((1, 2, 3))
        good = clipped <= CENSORED
        residuals.append(patches[good])
        colours.append(colour[good].mean((2, 3)))
        shares.append(clipped[good])
        image_of += [index] * int(good.sum())
    if len(image_of) < LEAST_PATCHES:
        return None
    every, colour_NC, share_N, owner_N = (
        torch.cat(residuals),
        torch.cat(colours),
        torch.cat(shares),
        torch.tensor(image_of),
    )
    whole = share_N <= CLIPPED
    if int(whole.sum()) >= LEAST_PATCHES:
        every, colour_NC, owner_N = every[whole], colour_NC[whole], owner_N[whole]
    else:
        every = _uncut(every)
    looked_at = len(every)
    level_N = every.mean(1).std((1, 2))
    chosen = []
    evenness = []
    for part in colour_NC.mean(1).argsort().tensor_split(min(KNOTS, max(1, looked_at // 40))):
        count = max(min(4, len(part)), round(flattest * len(part)))
        calm = part[level_N[part].argsort()][:count]
        chosen.append(calm)
        quarter = max(1, len(calm) // 4)
        evenness.append(float(level_N[calm[-quarter:]].mean() / level_N[calm[:quarter]].mean().clamp(min=1e-5)))
    pick = torch.cat(chosen)  # patches of one brightness after those of another
    if len(pick) > MOST_PATCHES:
        pick = pick[torch.linspace(0, len(pick) - 1, MOST_PATCHES).long()]
    images_seen = len(set(owner_N[pick].tolist()))
    return NoiseBank(every[pick], colour_NC[pick], images_seen, sorted(evenness)[len(evenness) // 2])


def _uncut(residual_NCss: Tensor) -> Tensor:
    """Residuals whose largest values were cut off, as strong as what lies between their tenths says."""
    flat_NCp = residual_NCss.flatten(2)
    low, high = (flat_NCp.quantile(tenth, 2) for tenth in (0.1, 0.9))
    found_NC = (high - low) / _TENTHS / flat_NCp.std(2).clamp(min=1e-5)
    return residual_NCss * found_NC[:, :, None, None]


def haar_level(plane_HWC: npt.NDArray[np.float64]) -> float:
    """Deviation of white noise in one picture, whatever else it shows, in the picture's unit.

    Median of the finest diagonal Haar details, Donoho and Johnstone 1994; correlated noise is underestimated.
    """
    even = plane_HWC[: plane_HWC.shape[0] // 2 * 2, : plane_HWC.shape[1] // 2 * 2]
    diagonal = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745)


def _patches(plane_1CHW: Tensor) -> Tensor:
    """Patches (N, C, SIDE, SIDE) at every `STRIDE` pixels."""
    channels = plane_1CHW.shape[1]
    columns = F.unfold(plane_1CHW, SIDE, stride=STRIDE)
    return columns[0].T.reshape(-1, channels, SIDE, SIDE)


def _blurred(plane_BCHW: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma)
    axis = torch.arange(-reach, reach + 1, dtype=plane_BCHW.dtype)
    line = torch.exp(-axis.square() / (2 * sigma**2))
    line = line / line.sum()
    for dim, shape in ((2, (1, 1, -1, 1)), (3, (1, 1, 1, -1))):
        pad = (0, 0, reach, reach) if dim == 2 else (reach, reach, 0, 0)
        kernel = line.view(shape).repeat(plane_BCHW.shape[1], 1, 1, 1)
        plane_BCHW = F.conv2d(F.pad(plane_BCHW, pad, mode="replicate"), kernel, groups=len(kernel))
    return plane_BCHW
