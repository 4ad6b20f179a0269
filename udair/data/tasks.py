"""What the source model is trained on: batches of degraded patches, shared out over the tasks.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from udair.data.degradations import FAMILIES, SOURCE_CHAINS, Chain
from udair.data.degradations.family import normal_like, per_image
from udair.data.pairs import ADDITIVE, PairSource
from udair.data.patches import PatchSource

# Degradation classes: what CSCL and the class head tell apart.
CLASSES = ("clean", *FAMILIES, "chain")

# Share of each task in training. Tasks that need fine structure (noise, rain, blur) take most of
# the steps; brightness and colour (haze, low light) are learned from few (PromptIR and DFPIR
# balance by repetition to the same end). Our reading: the paper states no balance.
TRAINING_SHARES: Mapping[str, float] = {
    "clean": 0.04, "haze": 0.12, "rain": 0.20, "low_light": 0.10, "blur": 0.12, "noise": 0.28, "jpeg": 0.06,
    "chain": 0.08,
}  # fmt: skip
# Half of all synthetic patches carry, whatever else befell them, the faint noise that every sensor
# leaves; its deviation is drawn log-uniformly. Without it a net learns that faint noise means low
# light, and brightens photographs that nothing is wrong with (docs/log.md, 2026-11-25).
FAINT_SHARE = 0.5
FAINT_SIGMA = (0.0008, 0.02)
# Of the patches of a class that has real pairs, how many are real.
REAL_SHARE: Mapping[str, float] = {"rain": 0.4, "haze": 0.4, "noise": 0.1, "blur": 0.4}


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        degraded_BCHW, clean_BCHW: RGB in [0, 1].
        label_B: Index into `CLASSES`.
        severity_B: In [0, 1]; NaN where a real pair's is not known.
    """

    degraded_BCHW: Tensor
    clean_BCHW: Tensor
    label_B: Tensor
    severity_B: Tensor


def make_batch(
    source: PatchSource,
    batch: int,
    patch: int,
    generator: torch.Generator,
    shares: Mapping[str, float] | None = None,
    pairs: PairSource | None = None,
) -> Batch:
    """Degrade random patches.

    Args:
        source: Clean photographs.
        batch, patch: Number of patches and their side, pixels.
        generator: Of everything random.
        shares: Share of each class; equal if None. Every batch comes as near to it as it can.
        pairs: Real pairs to mix in.
    """
    clean = source.crops(batch, patch, generator)
    label_B = _labels(batch, shares, generator).to(clean.device)
    degraded, severity_B = clean.clone(), torch.zeros(batch, device=clean.device)
    for label in label_B.unique().tolist():
        name = CLASSES[label]
        rows = (label_B == label).nonzero().squeeze(1)
        if pairs is not None and name in pairs.classes:
            real = torch.rand(len(rows), generator=generator, device=generator.device) < REAL_SHARE.get(name, 0.0)
            chosen, rows = rows[real.to(rows.device)], rows[~real.to(rows.device)]
            _real(pairs, name, degraded, clean, chosen, generator)
            severity_B[chosen] = torch.nan
        chain = _chain(name, generator)
        if chain is None or not len(rows):
            continue
        unit_BP = chain.sample(len(rows), generator)
        degraded[rows] = chain.degrade(clean[rows], unit_BP, generator)
        severity_B[rows] = chain.severity(unit_BP)
    synthetic = torch.isfinite(severity_B).nonzero().squeeze(1)
    degraded[synthetic] = _sensed(degraded[synthetic], generator)
    return Batch(degraded, clean, label_B, severity_B)


def _sensed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Images as a sensor gives them: `FAINT_SHARE` of them with faint noise."""
    draw_B2 = torch.rand(len(image), 2, generator=generator, device=generator.device)
    low, high = map(math.log, FAINT_SIGMA)
    sigma_B = torch.exp(low + (high - low) * draw_B2[:, 0]) * (draw_B2[:, 1] < FAINT_SHARE)
    return (image + per_image(sigma_B.to(image.device)) * normal_like(image, generator)).clamp(0, 1)


def _labels(batch: int, shares: Mapping[str, float] | None, generator: torch.Generator) -> Tensor:
    """Systematic sampling: one random offset, then equal steps through the cumulative shares."""
    weights = torch.tensor([1.0 if shares is None else shares[name] for name in CLASSES], device=generator.device)
    offset = torch.rand(1, generator=generator, device=generator.device)
    position = (torch.arange(batch, device=generator.device) + offset) / batch
    edges = weights.cumsum(0) / weights.sum()
    return torch.searchsorted(edges, position).clamp(max=len(CLASSES) - 1)


def _real(
    pairs: PairSource, name: str, degraded: Tensor, clean: Tensor, rows: Tensor, generator: torch.Generator
) -> None:
    """Fill rows with real pairs; half of an additive class are real layers on other photographs."""
    half = len(rows) // 2 if name in ADDITIVE else 0
    if half:
        degraded[rows[:half]] = pairs.transplant(name, clean[rows[:half]], generator)
    rest = rows[half:]
    if len(rest):
        degraded[rest], clean[rest] = pairs.crops(name, len(rest), clean.shape[-1], generator)


def _chain(name: str, generator: torch.Generator) -> Chain | None:
    if name == "clean":
        return None
    if name != "chain":
        return Chain([name])
    which = int(torch.randint(len(SOURCE_CHAINS), (1,), generator=generator, device=generator.device))
    return Chain(SOURCE_CHAINS[which])
