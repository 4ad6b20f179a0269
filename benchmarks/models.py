"""The base model under test, and plain baselines of known size to measure its cost against.

The baselines are written from their papers' descriptions with torch layers. They are not trained:
they answer how much an architecture costs, not how well it restores.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from udair.bundle import Bundle, load_bundle
from udair.config import Tone
from udair.data.images import ImageArray
from udair.data.patches import to_array
from udair.inference import restore
from udair.models.modulation import Modulation
from udair.weights import TRAINING_LIST, packaged


def base(name: str) -> Bundle:
    """A shipped base model by name, or the bundle in a folder."""
    return load_bundle(_folder(name))


def trained_images(name: str) -> frozenset[str]:
    """Pixel hashes of the images that a base model was trained on."""
    path = _folder(name) / TRAINING_LIST
    if not path.is_file():
        raise SystemExit(f"{path} is missing: without the list of training images no score can be trusted.")
    return frozenset(path.read_text().split())


def _folder(name: str) -> Path:
    return Path(name) if Path(name).is_dir() else packaged(name)


def restored(bundle: Bundle, image: ImageArray, row: Modulation | None = None, tone: Tone = "keep") -> ImageArray:
    """One image through the public entry point, as a customer gets it: 8 bits."""
    plane = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    return to_array(restore(bundle.model, plane, row, tone=tone))


def psnr(image: ImageArray, truth: ImageArray) -> float:
    """PSNR over RGB of 8-bit images, dB; identical images give 100."""
    error = ((image.astype("float64") - truth) ** 2).mean()
    return 100.0 if error == 0 else float(10 * math.log10(255**2 / error))


class _TransposedAttention(nn.Module):
    """Attention across channels (Zamir et al. 2022, eq. 1): linear in pixels."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.mix = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.local = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        q, k, v = (
            part.reshape(batch, self.heads, channels // self.heads, -1) for part in self.local(self.mix(x)).chunk(3, 1)
        )
        share = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.scale).softmax(-1)
        return self.out((share @ v).reshape(batch, channels, height, width))


class _GatedFeedForward(nn.Module):
    def __init__(self, channels: int, expansion: float = 2.66) -> None:
        super().__init__()
        hidden = int(channels * expansion)
        self.enter = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.local = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.leave = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.local(self.enter(x)).chunk(2, 1)
        return self.leave(F.gelu(gate) * value)


class _TransformerBlock(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, channels), nn.GroupNorm(1, channels)
        self.attention, self.feed = _TransposedAttention(channels, heads), _GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed(self.norm2(x))


class RestormerSize(nn.Module):
    """A transformer of Restormer's published size: width 48, blocks 4-6-6-8, heads 1-2-4-8, four to refine."""

    def __init__(self, width: int = 48, blocks: tuple[int, ...] = (4, 6, 6, 8), refine: int = 4) -> None:
        super().__init__()
        heads = [1, 2, 4, 8]
        widths = [width * 2**level for level in range(4)]

        def stage(level: int, count: int, channels: int | None = None) -> nn.Sequential:
            return nn.Sequential(*(_TransformerBlock(channels or widths[level], heads[level]) for _ in range(count)))

        self.enter = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(stage(level, blocks[level]) for level in range(4))
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, w // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)) for w in widths[:3]
        )
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(w, 2 * w, 3, padding=1, bias=False), nn.PixelShuffle(2)) for w in widths[1:]
        )
        self.fuses = nn.ModuleList(nn.Conv2d(2 * w, w, 1, bias=False) for w in widths[1:3])
        # The top level keeps both halves of its concatenation, as the original does.
        self.decoders = nn.ModuleList([stage(0, blocks[0], 2 * width), stage(1, blocks[1]), stage(2, blocks[2])])
        self.refine = stage(0, refine, 2 * width)
        self.leave = nn.Conv2d(2 * width, 3, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        x, skips = self.enter(image), []
        for level in range(3):
            x = self.encoders[level](x)
            skips.append(x)
            x = self.downs[level](x)
        x = self.encoders[3](x)
        for level in (2, 1, 0):
            x = torch.cat([self.ups[level](x), skips[level]], 1)
            if level:
                x = self.fuses[level - 1](x)
            x = self.decoders[level](x)
        return image + self.leave(self.refine(x))


def parameters_m(model: nn.Module) -> float:
    """Parameters, millions."""
    return sum(p.numel() for p in model.parameters()) / 1e6


@torch.inference_mode()
def gmacs(model: nn.Module, side: int = 256) -> float:
    """Multiply-accumulates of one image, billions; FFTs and norms are not counted."""
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e9


@torch.inference_mode()
def cpu_s(models: dict[str, nn.Module], side: int = 256, repeats: int = 5) -> dict[str, float]:
    """CPU seconds of one image on one thread: least process time, models taking turns."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    image = torch.rand(1, 3, side, side)
    best = dict.fromkeys(models, math.inf)
    for repeat in range(repeats + 1):
        for name, model in models.items():
            begun = time.process_time()
            model(image)
            if repeat:  # the first run warms caches and allocators
                best[name] = min(best[name], time.process_time() - begun)
    torch.set_num_threads(threads)
    return best
