"""What the source model is trained on: batches of degraded patches, shared out over the tasks.

Axes: B patches, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from udair.config import TONES, Tone
from udair.data.degradations import FAMILIES, SOURCE_CHAINS, TONE_FAMILIES, Chain
from udair.data.degradations.family import normal_like, per_image
from udair.data.pairs import ADDITIVE, PairSource
from udair.data.patches import PatchSource
from udair.data.tone import scenes_of_any_tone

# Degradation classes: what CSCL and the class head tell apart.
CLASSES = ("clean", *FAMILIES, "chain")

# Share of each task in training, by intent. Tasks that need fine structure (noise, rain, blur) take most of
# the steps; brightness and colour (haze, low light) are learned from few (PromptIR and DFPIR
# balance by repetition to the same end). Our reading: the paper states no balance.
TRAINING_SHARES: Mapping[Tone, Mapping[str, float]] = {
    "restore": {
        "clean": 0.04, "haze": 0.18, "rain": 0.15, "low_light": 0.14, "blur": 0.08, "camera": 0.08, "noise": 0.20,
        "jpeg": 0.04, "chain": 0.09,
    },
    "keep": {
        "clean": 0.05, "haze": 0.0, "rain": 0.20, "low_light": 0.0, "blur": 0.14, "camera": 0.15, "noise": 0.31,
        "jpeg": 0.06, "chain": 0.09,
    },
}  # fmt: skip
# What there is to restore with each intent: haze and darkness are no damage to one that keeps tone.
TASKS: Mapping[Tone, Mapping[str, float]] = {
    "restore": dict.fromkeys(CLASSES, 1.0),
    "keep": {name: float(name not in TONE_FAMILIES) for name in CLASSES},
}
CHAINS: Mapping[Tone, Sequence[tuple[str, ...]]] = {
    "restore": SOURCE_CHAINS,
    "keep": [names for names in SOURCE_CHAINS if not set(names) & set(TONE_FAMILIES)],
}
KEEP_SHARE = 0.5  # of a training batch: the default intent, and what fine structure is judged with
# Half of all synthetic patches carry, whatever else befell them, the faint noise that every sensor
# leaves; its deviation is drawn log-uniformly. Without it a net learns that faint noise means low
# light, and brightens photographs that nothing is wrong with (docs/log.md, 2026-11-25).
FAINT_SHARE = 0.5
FAINT_SIGMA = (0.0008, 0.02)
# Of the patches of a class that has real pairs, how many are real.
REAL_SHARE: Mapping[str, float] = {"rain": 0.4, "haze": 0.5, "noise": 0.25, "blur": 0.4}


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        degraded_BCHW, clean_BCHW: RGB in [0, 1].
        label_B: Index into `CLASSES`.
        severity_B: In [0, 1]; NaN where a real pair's is not known.
        tone_B: The intent with which `clean_BCHW` is right, index into `udair.config.TONES`.
    """

    degraded_BCHW: Tensor
    clean_BCHW: Tensor
    label_B: Tensor
    severity_B: Tensor
    tone_B: Tensor


def make_batch(
    source: PatchSource,
    batch: int,
    patch: int,
    generator: torch.Generator,
    shares: Mapping[str, float] | None = None,
    pairs: PairSource | None = None,
    tone: Tone = "restore",
) -> Batch:
    """Degrade random patches.

    With the intent that keeps tone the photographs become scenes of any tone first, degraded and clean alike.

    Args:
        source: Clean photographs.
        batch, patch: Number of patches and their side, pixels.
        generator: Of everything random.
        shares: Share of each class; if None, equal for all that there is to restore (`TASKS`). Every batch
            comes as near to it as it can.
        pairs: Real pairs to mix in.
        tone: What a restoration may change.
    """
    clean = source.crops(batch, patch, generator)
    if tone == "keep":
        clean = scenes_of_any_tone(clean, generator)
    label_B = _labels(batch, shares or TASKS[tone], generator).to(clean.device)
    degraded, severity_B = clean.clone(), torch.zeros(batch, device=clean.device)
    for label in label_B.unique().tolist():
        name = CLASSES[label]
        rows = (label_B == label).nonzero().squeeze(1)
        if pairs is not None and name in pairs.classes:
            real = torch.rand(len(rows), generator=generator, device=generator.device) < REAL_SHARE.get(name, 0.0)
            chosen, rows = rows[real.to(rows.device)], rows[~real.to(rows.device)]
            _real(pairs, name, degraded, clean, chosen, generator)
            severity_B[chosen] = torch.nan
        chain = _chain(name, tone, generator)
        if chain is None or not len(rows):
            continue
        unit_BP = chain.sample(len(rows), generator)
        if tone == "keep":
            degraded[rows], clean[rows] = chain.degrade_keeping_tone(clean[rows], unit_BP, generator)
        else:
            degraded[rows] = chain.degrade(clean[rows], unit_BP, generator)
        severity_B[rows] = chain.severity(unit_BP)
    synthetic = torch.isfinite(severity_B).nonzero().squeeze(1)
    degraded[synthetic] = _sensed(degraded[synthetic], generator)
    return Batch(degraded, clean, label_B, severity_B, torch.full_like(label_B, TONES.index(tone)))


def training_batch(
    source: PatchSource, batch: int, patch: int, generator: torch.Generator, pairs: PairSource | None = None
) -> Batch:
    """Patches of both intents, `KEEP_SHARE` of them with the one that keeps tone, in `TRAINING_SHARES`."""
    return training_batches(source, 1, batch, patch, generator, pairs)[0]


def training_batches(
    source: PatchSource,
    steps: int,
    batch: int,
    patch: int,
    generator: torch.Generator,
    pairs: PairSource | None = None,
) -> list[Batch]:
    """The batches of several steps, drawn together: each has its share of every task and intent."""
    kept = round(KEEP_SHARE * batch)
    counts: dict[Tone, int] = {"keep": kept, "restore": batch - kept}
    parts = [
        make_batch(source, steps * count, patch, generator, TRAINING_SHARES[tone], pairs, tone)
        for tone, count in counts.items()
        if count
    ]
    # Tasks lie in a row: a step takes every so many-th patch.
    return [
        Batch(*(torch.cat([getattr(part, item.name)[step::steps] for part in parts]) for item in fields(Batch)))
        for step in range(steps)
    ]


def _sensed(image: Tensor, generator: torch.Generator) -> Tensor:
    """Images as a sensor gives them: `FAINT_SHARE` of them with faint noise."""
    draw_B2 = torch.rand(len(image), 2, generator=generator, device=generator.device)
    low, high = map(math.log, FAINT_SIGMA)
    sigma_B = torch.exp(low + (high - low) * draw_B2[:, 0]) * (draw_B2[:, 1] < FAINT_SHARE)
    return (image + per_image(sigma_B.to(image.device)) * normal_like(image, generator)).clamp(0, 1)


def _labels(batch: int, shares: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """Systematic sampling: one random offset, then equal steps through the cumulative shares."""
    weights = torch.tensor([shares[name] for name in CLASSES], device=generator.device)
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


def _chain(name: str, tone: Tone, generator: torch.Generator) -> Chain | None:
    if name == "clean":
        return None
    if name != "chain":
        return Chain([name])
    chains = CHAINS[tone]
    which = int(torch.randint(len(chains), (1,), generator=generator, device=generator.device))
    return Chain(chains[which])
