"""Clean photographs resident on the device as uint8, and random patches of them.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        self.images = [_pixels(image).to(device) for image in images]
        if not self.images:
            raise ConfigError("there are 0 images to take patches from; expected 1 or more.")

    @classmethod
    def of_layers(cls, stacks: Iterable[Sequence[ImageArray]], device: torch.device | str = "cpu") -> PatchSource:
        """A source whose images are several registered ones: crops have their channels in a row."""
        return cls((np.concatenate(list(layers), axis=2) for layers in stacks), device)

    def __len__(self) -> int:
        return len(self.images)

    def crops(self, batch: int, side: int, generator: torch.Generator) -> Tensor:
        """Random patches (B, C, side, side) as floats in [0, 1]; small images are mirrored up to size."""
        draws = torch.rand(batch, 4, generator=generator, device=generator.device).tolist()
        patches = [self._crop(which, down, right, turn, side) for which, down, right, turn in draws]
        return torch.stack(patches).float() / 255

    def _crop(self, which: float, down: float, right: float, symmetry: float, side: int) -> Tensor:
        image = self.images[int(which * len(self.images))]
        _, height, width = image.shape
        if height < side or width < side:
            rows = mirror_index(max(height, side), height)
            columns = mirror_index(max(width, side), width)
            image = image[:, rows][:, :, columns]
            _, height, width = image.shape
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        patch = image[:, top : top + side, left : left + side]
        turn = int(symmetry * 8)
        patch = torch.rot90(patch, turn % 4, (1, 2))
        return patch.flip(2) if turn >= 4 else patch


def _pixels(image: ImageArray) -> Tensor:
    if image.dtype != np.uint8:
        raise ConfigError(f"an image holds {image.dtype}; expected uint8, 0 to 255.")
    return torch.tensor(image).permute(2, 0, 1).contiguous()


def mirror_index(length: int, size: int) -> Tensor:
    """Indices that walk 0..size-1 back and forth for `length` steps."""
    period = max(2 * size - 2, 1)
    position = torch.arange(length) % period
    return torch.where(position < size, position, period - position).clamp(0, size - 1)


def read_folder(folder: Path, limit: int | None = None) -> list[ImageArray]:
    """Decode the images below a folder, in name order.

    Raises:
        ConfigError: The folder holds no image.
        ImageError: One of them cannot be decoded: training data is curated, unlike customers'.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)[:limit]
    if not paths:
        raise ConfigError(f"{folder} holds no image; expected files that end in {', '.join(SUFFIXES)}.")
    return [decode(path.read_bytes(), DecodeLimits()) for path in paths]


def to_tensor(images: Sequence[ImageArray], device: torch.device | str = "cpu") -> Tensor:
    """Equal-sized (H, W, 3) uint8 arrays to (B, 3, H, W) floats in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().to(device) / 255


def to_array16(image_CHW: Tensor) -> npt.NDArray[np.uint16]:
    """(3, H, W) floats to (H, W, 3) uint16, rounded and clamped."""
    array: npt.NDArray[np.uint16] = (
        (image_CHW.clamp(0, 1) * 65535).round().permute(1, 2, 0).cpu().numpy().astype(np.uint16)
    )
    return array


def to_array(image_CHW: Tensor) -> ImageArray:
    """(3, H, W) floats to (H, W, 3) uint8, rounded and clamped."""
    array: ImageArray = (image_CHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return array
