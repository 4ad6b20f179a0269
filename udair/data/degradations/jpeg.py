"""JPEG compression on the device: 8 x 8 DCT, quantisation, 4:2:0 chroma; no entropy coding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from udair.data.degradations.family import Family, Parameter, Range, Values

# Tables K.1 and K.2 of ITU-T T.81.
_LUMA = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]  # fmt: skip
_CHROMA = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
]  # fmt: skip
_TO_YCC = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
_TO_RGB = [[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]]


def _dct_88() -> Tensor:
    n = torch.arange(8.0)
    matrix = torch.cos(math.pi / 8 * (n[None, :] + 0.5) * n[:, None]) / 2
    matrix[0] = 1 / math.sqrt(8)
    return matrix


def _compress(plane_B1HW: Tensor, table_B88: Tensor) -> Tensor:
    batch, _, height, width = plane_B1HW.shape
    padded = F.pad(plane_B1HW, (0, -width % 8, 0, -height % 8), mode="replicate")
    rows, columns = padded.shape[2] // 8, padded.shape[3] // 8
    blocks = padded.view(batch, rows, 8, columns, 8).transpose(2, 3)
    dct = _dct_88().to(plane_B1HW.device)
    step = table_B88[:, None, None]
    coefficients = torch.round(dct @ (blocks * 255 - 128) @ dct.T / step) * step
    pixels = (dct.T @ coefficients @ dct + 128) / 255
    return pixels.transpose(2, 3).reshape(batch, 1, rows * 8, columns * 8)[:, :, :height, :width]


def _table(base: list[int], quality_B: Tensor) -> Tensor:
    scale = torch.where(quality_B < 50, 5000 / quality_B, 200 - 2 * quality_B)
    table = quality_B.new_tensor(base).view(1, 8, 8)
    return ((table * scale[:, None, None] + 50) / 100).floor().clamp(1, 255)


def compress(image: Tensor, quality_B: Tensor) -> Tensor:
    """A batch through JPEG and back, each image with its own quality of 1 to 100."""
    height, width = image.shape[2:]
    ycc = torch.einsum("ij,bjhw->bihw", image.new_tensor(_TO_YCC), image)
    luma = _compress(ycc[:, :1], _table(_LUMA, quality_B))
    chroma_table = _table(_CHROMA, quality_B)
    planes = [luma]
    for channel in (1, 2):
        half = F.avg_pool2d(ycc[:, channel : channel + 1], 2, ceil_mode=True) + 0.5
        full = F.interpolate(_compress(half, chroma_table), scale_factor=2, mode="bilinear", align_corners=False)
        planes.append(full[:, :, :height, :width] - 0.5)
    return torch.einsum("ij,bjhw->bihw", image.new_tensor(_TO_RGB), torch.cat(planes, 1))


def _apply(image: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    del generator  # JPEG is deterministic
    return compress(image, values["quality"])


JPEG = Family(
    "jpeg",
    {"quality": Parameter(Range(7.0, 80.0), Range(4.0, 90.0), severity=-1.0)},
    _apply,
)
