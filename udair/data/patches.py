"""Clean photographs resident on the device as uint8, and random patches of them.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from udair.data.images import DecodeLimits, ImageArray, decode
from udair.errors import ConfigError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class PatchSource:
    """Random flipped and turned crops of a set of images.

    Args:
        images: (H, W, 3) uint8 arrays of any sizes.
        device: Where pixels stay.

    Raises:
        ConfigError: There is no image, or one is not of bytes.
    """

    def __init__(self, images: Iterable[ImageArray], device: torch.device | str = "cpu") -> None:
        pixels = [_pixels(image) for image in images]
        if not pixels:
            raise ConfigError("there are 0 images to take patches from; expected 1 or more.")
        # All pixels in one row, so that a batch is one gather, however many images it comes from.
        self._pixels_NC = torch.cat([image.flatten(0, 1) for image in pixels]).to(device)
        sizes_I2 = torch.tensor([image.shape[:2] for image in pixels])
        self._sizes_I2 = sizes_I2.to(device)
        self._begins_I = (sizes_I2.prod(1).cumsum(0) - sizes_I2.prod(1)).to(device)

    @classmethod
    def of_layers(cls, stacks: Iterable[Sequence[ImageArray]], device: torch.device | str = "cpu") -> PatchSource:
        """A source whose images are several registered ones: crops have their channels in a row."""
        return cls((np.concatenate(list(layers), axis=2) for layers in stacks), device)

    def __len__(self) -> int:
        return len(self._sizes_I2)

    def crops(self, batch: int, side: int, generator: torch.Generator) -> Tensor:
        """Random patches (B, C, side, side) as floats in [0, 1]; small images are mirrored up to size."""
        draws_B4 = torch.rand(batch, 4, generator=generator, device=generator.device)
        which, down, right, symmetry = draws_B4.to(self._sizes_I2.device).double().unbind(1)
        image_B = (which * len(self)).long()
        height, width = self._sizes_I2[image_B].unbind(1)
        top = (down * (height.clamp(min=side) - side + 1)).long()
        left = (right * (width.clamp(min=side) - side + 1)).long()
        row, column = _turned(side, (symmetry * 8).long())
        row = mirrored(top[:, None, None] + row, height[:, None, None])
        column = mirrored(left[:, None, None] + column, width[:, None, None])
        index = self._begins_I[image_B][:, None, None] + row * width[:, None, None] + column
        patches_BHWC = self._pixels_NC[index.flatten()].view(batch, side, side, -1)
        return patches_BHWC.permute(0, 3, 1, 2).contiguous().float() / 255


def _turned(side: int, symmetry_B: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column (B, side, side) that each pixel of a turned, then perhaps flipped, patch comes from."""
    axis = torch.arange(side, device=symmetry_B.device)
    quarter, flip = (symmetry_B % 4)[:, None, None], (symmetry_B >= 4)[:, None, None]
    i = axis[None, :, None]
    j = torch.where(flip, side - 1 - axis[None, None, :], axis[None, None, :])
    odd = quarter % 2 == 1
    row, column = torch.where(odd, j, i), torch.where(odd, i, j)
    return torch.where(quarter >= 2, side - 1 - row, row), torch.where(
        (quarter == 1) | (quarter == 2), side - 1 - column, column
    )


def _pixels(image: ImageArray) -> Tensor:
    if image.dtype != np.uint8:
        raise ConfigError(f"an image holds {image.dtype}; expected uint8, 0 to 255.")
    return torch.tensor(image)


def mirrored(position: Tensor, size: Tensor) -> Tensor:
    """Where positions 0, 1, 2, … land that walk 0..size-1 back and forth."""
    period = (2 * size - 2).clamp(min=1)
    position = position % period
    return torch.minimum(torch.where(position < size, position, period - position), size - 1)


def read_folder(folder: Path, limit: int | None = None) -> list[ImageArray]:
    """Decode the images below a folder, in name order.

    Raises:
        ConfigError: The folder holds no image.
        ImageError: One of them cannot be decoded: training data is curated, unlike customers'.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise ConfigError(f"{folder} holds no image; expected files that end in {', '.join(SUFFIXES)}.")
    with ThreadPoolExecutor() as pool:  # decoders let go of the interpreter
        return list(pool.map(lambda path: decode(path.read_bytes(), DecodeLimits()), paths))


def to_tensor(images: Sequence[ImageArray], device: torch.device | str = "cpu") -> Tensor:
    """Equal-sized (H, W, 3) uint8 arrays to (B, 3, H, W) floats in [0, 1]."""
    # Bytes travel, and become floats where they arrive.
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float() / 255


def to_array16(image_CHW: Tensor) -> npt.NDArray[np.uint16]:
    """(…, 3, H, W) floats to (…, H, W, 3) uint16, rounded and clamped."""
    array: npt.NDArray[np.uint16] = (
        (image_CHW.clamp(0, 1) * 65535).round().movedim(-3, -1).cpu().numpy().astype(np.uint16)
    )
    return array


def to_array(image_CHW: Tensor) -> ImageArray:
    """(…, 3, H, W) floats to (…, H, W, 3) uint8, rounded and clamped."""
    array: ImageArray = to_bytes(image_CHW).movedim(-3, -1).cpu().numpy()
    return array


def to_bytes(image: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8 where they are, rounded and clamped."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)
