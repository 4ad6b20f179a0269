"""One degradation family: named parameters with ranges, and what they do to a batch.

Axes: B samples, H x W pixels, P parameters of the family. Images are RGB float in [0, 1].

Parameters live in the unit cube; a `Range` maps each to its physical value. `source` is what the
source model is trained on; `search` is wider and is what matching may find in a customer's images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.errors import ConfigError, ShapeError

Values = Mapping[str, Tensor]
Apply = Callable[[Tensor, Values, torch.Generator], Tensor]


@dataclass(frozen=True)
class Range:
    """Interval of one parameter, sampled uniformly or, if `log`, uniformly in the logarithm."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if self.high < self.low or (self.log and self.low <= 0):
            raise ConfigError(f"range is {self.low} to {self.high}; expected low <= high, above 0 if logarithmic.")

    def at(self, unit: Tensor) -> Tensor:
        """Value at a position in [0, 1]."""
        if self.log:
            return torch.exp(math.log(self.low) + unit * (math.log(self.high) - math.log(self.low)))
        return self.low + unit * (self.high - self.low)


@dataclass(frozen=True)
class Parameter:
    """One physical parameter of a family.

    Attributes:
        source: Range seen in source training.
        search: Range that matching may search; contains `source`.
        severity: Weight in the family's severity; negative when larger values damage less.
    """

    source: Range
    search: Range
    severity: float = 0.0


@dataclass(frozen=True)
class Family:
    """A seeded degradation, batched, on the images' device.

    Attributes:
        name: ``noise``, ``rain``, …
        parameters: Name to `Parameter`, in a fixed order.
        apply: (image_BCHW, values each (B,), generator) to image_BCHW; clamping is done here.
    """

    name: str
    parameters: Mapping[str, Parameter]
    apply: Apply

    def values(self, unit_BP: Tensor, space: str = "source") -> dict[str, Tensor]:
        """Physical values of unit-cube positions.

        Raises:
            ShapeError: Not one column for every parameter.
        """
        if unit_BP.ndim != 2 or unit_BP.shape[1] != len(self.parameters):
            raise ShapeError("unit_BP", tuple(unit_BP.shape), f"(B, {len(self.parameters)})")
        ranges = (getattr(parameter, space) for parameter in self.parameters.values())
        return {name: r.at(unit_BP[:, i]) for i, (name, r) in enumerate(zip(self.parameters, ranges, strict=True))}

    def severity(self, unit_BP: Tensor) -> Tensor:
        """Rough severity (B,) in [0, 1]: weighted position of the parameters that damage."""
        weights_P = unit_BP.new_tensor([p.severity for p in self.parameters.values()])
        position_BP = torch.where(weights_P >= 0, unit_BP, 1 - unit_BP)
        return (position_BP * weights_P.abs()).sum(1) / weights_P.abs().sum().clamp(min=1e-6)

    def degrade(self, clean_BCHW: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Degrade a batch; same generator state, same pixels. The result is clamped to [0, 1]."""
        if clean_BCHW.ndim != 4 or clean_BCHW.shape[1] != 3:
            raise ShapeError("clean_BCHW", tuple(clean_BCHW.shape), "(B, 3, H, W)")
        return self.apply(clean_BCHW, values, generator).clamp(0, 1)


def per_image(value_B: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, 1)."""
    return value_B[:, None, None, None]


def normal_like(image_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of an image's shape, on its device."""
    return torch.randn(image_BCHW.shape, generator=generator, device=image_BCHW.device, dtype=image_BCHW.dtype)


def convolve(image_BCHW: Tensor, kernel_Bkk: Tensor) -> Tensor:
    """Convolve every image of a batch with its own kernel (odd side), edges repeated."""
    batch, channels, height, width = image_BCHW.shape
    side = kernel_Bkk.shape[-1]
    pad = side // 2
    padded = torch.nn.functional.pad(image_BCHW, (pad, pad, pad, pad), mode="replicate")
    # Channels of one image share a kernel: fold them into the batch of a grouped convolution.
    folded = padded.reshape(batch, channels, *padded.shape[2:]).transpose(0, 1)
    out = torch.nn.functional.conv2d(folded, kernel_Bkk[:, None], groups=batch)
    return out.transpose(0, 1).reshape(batch, channels, height, width)


def line_kernel(length_B: Tensor, angle_B: Tensor, width_B: Tensor, side: int) -> Tensor:
    """Soft line segments (B, side, side) that sum to one.

    Args:
        length_B: Length, pixels.
        angle_B: Angle from the vertical, degrees.
        width_B: Standard deviation across the line, pixels.
        side: Odd side of the kernel, pixels.
    """
    axis = torch.arange(side, device=length_B.device, dtype=torch.float32) - side // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radian = torch.deg2rad(angle_B)[:, None, None]
    along = x * torch.sin(radian) + y * torch.cos(radian)
    across = x * torch.cos(radian) - y * torch.sin(radian)
    inside = torch.sigmoid((length_B[:, None, None] / 2 - along.abs()) * 2)
    kernel = inside * torch.exp(-0.5 * (across / width_B[:, None, None].clamp(min=0.3)).square())
    return kernel / kernel.sum((1, 2), keepdim=True).clamp(min=1e-8)


def gaussian_kernel(sigma_B: Tensor, side: int) -> Tensor:
    """Isotropic Gaussians (B, side, side) that sum to one; a sigma near zero is a point."""
    axis = torch.arange(side, device=sigma_B.device, dtype=torch.float32) - side // 2
    square = axis[:, None].square() + axis[None, :].square()
    kernel = torch.exp(-0.5 * square / sigma_B[:, None, None].clamp(min=1e-2).square())
    return kernel / kernel.sum((1, 2), keepdim=True)


def disc_kernel(radius_B: Tensor, side: int) -> Tensor:
    """Discs (B, side, side) with a soft edge that sum to one; a radius near zero is a point."""
    axis = torch.arange(side, device=radius_B.device, dtype=torch.float32) - side // 2
    radius = (axis[:, None].square() + axis[None, :].square()).sqrt()
    kernel = (radius_B[:, None, None] + 0.5 - radius).clamp(0, 1)
    return kernel / kernel.sum((1, 2), keepdim=True)


def path_kernel(
    length_B: Tensor, angle_B: Tensor, shake_B: Tensor, side: int, generator: torch.Generator, points: int = 96
) -> Tensor:
    """Kernels (B, side, side) of a camera's path during exposure; they sum to one.

    The camera moves on, and its direction drifts as a random walk: straight motion blur without
    shake, the curled kernels of a hand with it. Speed drifts too, in the logarithm: where a hand
    dwells, recorded kernels have a bright spot that holds a large part of the light.

    Args:
        length_B: Length of the path, pixels.
        angle_B: Its first direction from the vertical, degrees.
        shake_B: Standard deviation of the direction's drift over the whole path, turns.
        side, points: Side of the kernel, pixels; steps along the path.
    """
    batch, device = len(length_B), length_B.device
    drift = torch.randn(batch, points, generator=generator, device=device).cumsum(1) / points**0.5
    direction = torch.deg2rad(angle_B)[:, None] + 2 * torch.pi * shake_B[:, None] * drift
    pace = torch.randn(batch, points, generator=generator, device=device).cumsum(1) / points**0.5
    speed = torch.exp(1.5 * shake_B.clamp(max=1)[:, None] * pace)
    speed = speed / speed.mean(1, keepdim=True)
    step = speed * (length_B[:, None] / points)
    x, y = (step * direction.sin()).cumsum(1), (step * direction.cos()).cumsum(1)
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    axis = torch.arange(side, device=device, dtype=torch.float32) - side // 2
    across = torch.exp(-2 * (axis[None, None, :] - x[:, :, None]).square())
    down = torch.exp(-2 * (axis[None, None, :] - y[:, :, None]).square())
    kernel = torch.einsum("bpi,bpj->bij", down, across)
    return kernel / kernel.sum((1, 2), keepdim=True).clamp(min=1e-8)


def smooth_field(batch: int, height: int, width: int, generator: torch.Generator, cells: int = 4) -> Tensor:
    """Smooth random fields (B, 1, H, W) in [0, 1]: bicubic interpolation of a coarse random grid."""
    coarse = torch.rand(batch, 1, cells, cells, generator=generator, device=generator.device)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)
