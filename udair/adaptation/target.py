"""One target, and what the ways to an adapter for it have in common.

Axes: N crops, B a batch, C channels, H x W pixels, D code width, K codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from udair.adaptation.adapter import Adapter
from udair.adaptation.detection import Detection, detect
from udair.adaptation.fitting import CROP, EMBED_CROPS, fit_adapter
from udair.adaptation.pairs import Degrade, Pairs, crop_scenes
from udair.adaptation.phase_state import PhaseStates
from udair.adaptation.projection import align
from udair.adaptation.scenes import Scenes
from udair.adaptation.scope import source_pairs_inside
from udair.adaptation.toning import Toning
from udair.bundle import Bundle
from udair.config import RecipeConfig, Tone
from udair.data.images import ImageArray
from udair.data.patches import PatchSource
from udair.models.appearance import appearance
from udair.models.modulation import Modulation

Progress = Callable[[str, float, dict[str, float]], None]

ANCHOR_SHARE = 0.125  # of a training batch: source samples inside the scope
ANCHOR_DRAWS = 256  # source samples among which those are looked for


@dataclass(frozen=True)
class Observed:
    """What the model sees of a target.

    Attributes:
        crops_NCHW: RGB in [0, 1].
        embedding_ND: Their unmodulated embeddings.
        histogram_K: Mean share of each code.
        found: Whether it is clean, and how many domains it looks like.
    """

    crops_NCHW: Tensor
    embedding_ND: Tensor
    histogram_K: Tensor
    found: Detection


def observe(bundle: Bundle, images: Sequence[ImageArray], seed: int, generator: torch.Generator) -> Observed:
    """Cut crops from the target's images, embed them, and see what kind of target it is."""
    crops = PatchSource(images, bundle.model.enter.weight.device).crops(EMBED_CROPS, CROP, generator)
    with torch.no_grad():
        seen = bundle.model.embed(crops)
    embedding_ND = seen.embedding_BD.float()
    found = detect(embedding_ND, appearance(crops), bundle.stats, seed)
    return Observed(crops, embedding_ND, seen.histogram_BK.mean(0), found)


@dataclass(frozen=True)
class Run:
    """What the ways to an adapter have in common."""

    bundle: Bundle
    target: Observed
    config: RecipeConfig
    deadline: float
    generator: torch.Generator
    report: Progress
    states: PhaseStates | None
    identity: Adapter
    champion: Adapter | None
    scenes: Scenes
    toning: Toning

    @property
    def start(self) -> Modulation:
        """Where training starts from."""
        return self.identity.row if self.champion is None else self.champion.row

    def as_described(self) -> tuple[dict[str, Adapter], dict[str, float]]:
        """The domain's adapter so far, and UDAIR's alignment alone; with the alignment's figures."""
        self.report("ALIGNING", 0.0, {})
        aligned, figures = align(self.target.embedding_ND, self.bundle.stats, self.identity.row, self.config.alignment)
        made = {"coral": Adapter(self.bundle.digest, aligned, {"candidate": "coral"}, self.identity.tone)}
        if self.champion is not None:
            made["champion"] = replace(self.champion, notes={"candidate": "champion"})
        return made, figures


@dataclass(frozen=True)
class Candidates:
    """What one way to an adapter gave.

    Attributes:
        adapters: By name.
        held_out: Pairs that they are compared on; None where there are none.
        metrics: Figures.
        words: What was found, for people.
    """

    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    held_out: Pairs | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    words: Sequence[str] = ()


def anchors_of(
    bundle: Bundle, scope: Modulation, config: RecipeConfig, generator: torch.Generator, tone: Tone
) -> tuple[Tensor, Tensor]:
    """Degraded and clean source samples that a scope cannot tell from the target's: training must not forget them."""
    return source_pairs_inside(bundle, scope, ANCHOR_DRAWS, config.patch, generator, tone)


def train_on(
    bundle: Bundle,
    scenes: Tensor,
    degrade: Degrade,
    embedding_ND: Tensor,
    anchors: tuple[Tensor, Tensor],
    config: RecipeConfig,
    *,
    deadline: float,
    generator: torch.Generator,
    on_step: Callable[[float, float], None] = lambda share, loss: None,
    start: Modulation | None = None,
    tone: Tone = "keep",
) -> tuple[Modulation, dict[str, float]]:
    """Train an adapter on clean scenes that are degraded as the target is, and on a few anchors in every batch.

    Args:
        bundle: The base model.
        scenes: Clean ones (N, 3, H, W).
        degrade: What the target does to a scene.
        embedding_ND, config, deadline, generator, on_step, start, tone: As for `fit_adapter`.
        anchors: From `anchors_of`.

    Raises:
        AdaptationError, OutOfTime: As for `fit_adapter`.
    """

    def draw(batch: int, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        kept = min(round(ANCHOR_SHARE * batch), len(anchors[0]))
        degraded, wanted = degrade(crop_scenes(scenes, batch - kept, patch, generator), generator)
        pick = torch.randint(max(len(anchors[0]), 1), (kept,), generator=generator)
        return torch.cat([degraded, anchors[0][pick]]), torch.cat([wanted, anchors[1][pick]])

    return fit_adapter(
        bundle.model,
        draw,
        embedding_ND,
        config,
        generator=generator,
        deadline=deadline,
        start=start,
        on_step=on_step,
        tone=tone,
    )
