"""Adapt one domain: look, tell its damage, train an adapter on it, gather evidence.

Inputs are unlabelled images of the target, split *adapt* and *gate*; the base model brings its
source statistics and replay scenes. Only the adapter moves.

Axes: N images or crops, B a batch, C channels, H x W pixels, D code width.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from udair.adaptation.adapter import Adapter, identity_adapter
from udair.adaptation.evidence import Yardstick
from udair.adaptation.fitting import CROP
from udair.adaptation.flat_bank import adapters_for_noise
from udair.adaptation.gate import Evidence, GatePolicy, judge
from udair.adaptation.pairs import Pairs, Trial, by_promise, gate_view, source_pairs
from udair.adaptation.phase_state import PhaseStates
from udair.adaptation.scenes import FEWEST_REFERENCES, Scenes
from udair.adaptation.target import Candidates, Progress, Run, observe
from udair.adaptation.toning import Toning, find_toning
from udair.bundle import Bundle
from udair.config import RecipeConfig, Tone, check_tone
from udair.data.images import ImageArray
from udair.errors import AdaptationError, AdapterError, ConfigError, OutOfTime
from udair.estimation import jpeg
from udair.estimation.rain import rain

GATE_IMAGES = 24
FEWEST_VIEWS = 8  # below it the evidence looks at images that adaptation saw, too, and says so
SOURCE_PAIRS = 48
MEASURED_CANDIDATES = 6
WORTH_TRYING_DB = 0.5  # of gain on scenes; of less nobody need hear that it was refused
TOLD_FROM = 48  # images
FLAT = 1.0  # standard deviation, of 255, below which an image shows nothing


@dataclass(frozen=True)
class Adaptation:
    """What one adaptation gave.

    Attributes:
        adapter: The chosen candidate; the identity when none promised a gain.
        evidence: Measured on it, for the gate.
        metrics: Figures of the run.
        match: What was told of the target, in words; JSON-ready.
        candidates: Gain on held-out matched pairs of each candidate, dB.
        adapters: Every candidate, for benchmarks and reports.
    """

    adapter: Adapter
    evidence: Evidence
    metrics: dict[str, float]
    match: dict[str, Any]
    candidates: dict[str, float]
    adapters: Mapping[str, Adapter] = field(default_factory=dict)


def adapt(
    bundle: Bundle,
    adapt_images: Sequence[ImageArray],
    gate_images: Sequence[ImageArray],
    config: RecipeConfig | None = None,
    on_progress: Progress | None = None,
    *,
    tone: Tone = "keep",
    references: Sequence[ImageArray] = (),
    tone_aim: float | None = None,
    jpeg_tables: Sequence[bytes | None] = (),
    champion: Adapter | None = None,
    states: PhaseStates | None = None,
) -> Adaptation:
    """Adapt a base model to one domain.

    A target that is clean already, or one with fewer images than the gate needs, gets the
    identity at once: there is nothing to gain, or no way to show a gain.

    Args:
        bundle: The base model with statistics and replay scenes.
        adapt_images: (H, W, 3) uint8 arrays of the target that adaptation may use.
        gate_images: Others, for the gate alone.
        config: Steps, budget, seed.
        on_progress: Called with phase (EMBEDDING, ALIGNING, ADAPTING, EVALUATING), share, metrics.
        tone: The intent that the adapter is made for: with ``keep``, haze and exposure of the target are no damage.
        references: Good pictures of the same place or kind, unpaired: what a restored one should look like. They stand
            for the packaged scenes where there are eight or more.
        tone_aim: Mean brightness, in (0, 1), that restored pictures should have; only where tone is restored.
        jpeg_tables: Luminance quantisation table of each file behind `adapt_images` (`udair.estimation.jpeg`); None for
            one that was no JPEG. They are told, not adapted to.
        champion: The domain's adapter so far: training starts from it, and it competes itself.
        states: Remembers what ADAPTING made; a repeated call goes on from there and gives the
            same adapter. The other phases take seconds.

    Raises:
        AdaptationError: TOO_FEW_IMAGES (none to adapt on, or none that shows anything), NAN_LOSS.
        AdapterError: The champion was made for the other intent.
        ConfigError: The tone is none, or an aim is stated where tone is kept or outside of (0, 1).

    Source: UDAIR (arXiv 2505.22284) for projection and CORAL; estimators, re-degradation, the tone curve and the gate
    are ours (docs/method.md).
    """
    config = config or RecipeConfig()
    check_tone(tone)
    if tone_aim is not None and (tone != "restore" or not 0 < tone_aim < 1):
        raise ConfigError(
            f"tone_aim is {tone_aim} with tone {tone!r}; expected a brightness in (0, 1), and tone 'restore'."
        )
    if champion is not None and champion.tone != tone:
        raise AdapterError(
            f"the domain's adapter was made for tone {champion.tone!r}; this adaptation is for {tone!r}. Start without it."
        )
    report = on_progress or (lambda phase, share, metrics: None)
    started = time.monotonic()
    generator = torch.Generator().manual_seed(config.seed)
    shown, gate_shown, notes = _shown(adapt_images, gate_images)

    report("EMBEDDING", 0.0, {})
    target = observe(bundle, shown, config.seed, generator)
    found = target.found
    metrics = {
        "in_domain_share": found.in_domain_share,
        "clean_share": found.clean_share,
        "separation": found.separation,
    }
    if len(found.groups) > 1:
        notes.append(f"target looks like {len(found.groups)} domains (separation {found.separation:.2f}); split it")
    report("EMBEDDING", 1.0, dict(metrics))

    needed = GatePolicy().min_images
    total = len(shown) + len(gate_shown)
    identity = identity_adapter(bundle.model, bundle.digest, tone)
    packaged = Scenes.packaged(bundle)
    scale_S = packaged.looks.statistic_NS.std(0)
    scenes = packaged
    if len(references) >= FEWEST_REFERENCES:
        scenes = Scenes.of(references, generator, bundle.model.enter.weight.device)
    elif references:
        notes.append(f"{len(references)} references; {FEWEST_REFERENCES} are needed for them to be used")
    scenes = scenes.at_mean(tone_aim)
    toning = Toning(identity.row.curve_B3T.cpu())
    made, why_none = Candidates(), "no correction was found that helps"
    try:
        if total < needed:
            why_none = f"of its pictures {total} can be used, and {needed} are needed to judge one by. Add some and adapt again"
            notes.append(f"{total} usable images; {needed} are needed to judge an adapter")
        else:
            if tone == "restore":
                toning = find_toning(bundle, shown, scenes, scale_S, tone_aim)
            run = Run(
                bundle,
                target,
                config,
                started + config.budget_s,
                generator,
                report,
                states,
                identity,
                champion,
                scenes,
                toning,
            )
            made = adapters_for_noise(run, *([toning.image(i) for i in images] for images in (shown, gate_shown)))
    except OutOfTime as error:
        why_none = f"the budget of {config.budget_s:g} s ran out {error}. Give it more (budget_s)"
        notes.append(f"the budget of {config.budget_s:g} s ran out {error}; nothing was adapted, give it more")
    metrics |= made.metrics
    candidates, held_out = made.adapters, made.held_out

    report("EVALUATING", 0.0, {})
    trials = {name: held_out.trial(bundle.model, c.row) for name, c in candidates.items()} if held_out else {}
    report("EVALUATING", 0.4, {})
    views = gate_shown[:GATE_IMAGES]
    if candidates and len(views) < FEWEST_VIEWS:
        seen = shown[: FEWEST_VIEWS - len(views)]
        notes.append(
            f"{len(seen)} images that the adapter was trained for were looked at as well: there were few others"
        )
        views = [*views, *seen]
    adapter, evidence = _choose(bundle, candidates, trials, held_out, identity, views, total, config.seed, toning)
    words = [*made.words, *_also_told(shown, jpeg_tables)]
    if evidence.identity:
        words.insert(0, f"No adapter was made: {why_none}. What serves goes on serving.")
    evidence = replace(evidence, notes=(*evidence.notes, *notes))
    metrics |= {"seconds": time.monotonic() - started, "matched_gain_db": evidence.matched_gain_db}
    report("EVALUATING", 1.0, dict(metrics))
    described = {"words": words}
    gains = {name: trial.gain_db for name, trial in trials.items()}
    return Adaptation(adapter, evidence, metrics, described, gains, candidates)


def _shown(
    adapt_images: Sequence[ImageArray], gate_images: Sequence[ImageArray]
) -> tuple[list[ImageArray], list[ImageArray], list[str]]:
    """The images that show something; all-black and all-white ones are counted, not used."""
    if not adapt_images:
        raise AdaptationError("TOO_FEW_IMAGES", "there are 0 images to adapt on; expected 1, better 20 or more.")
    shown, gate_shown = ([image for image in images if image.std() >= FLAT] for images in (adapt_images, gate_images))
    flat = len(adapt_images) + len(gate_images) - len(shown) - len(gate_shown)
    if not shown:
        raise AdaptationError(
            "TOO_FEW_IMAGES",
            f"all {len(adapt_images)} images to adapt on are of one colour (lens cap? blown out?); expected photographs.",
        )
    return shown, gate_shown, [f"{flat} images of one colour were not used"] if flat else []


def _also_told(images: Sequence[ImageArray], jpeg_tables: Sequence[bytes | None]) -> list[str]:
    """What else can be told of a domain, and is not adapted to: labels gain nothing there (docs/log.md)."""
    chosen = images[:: max(1, len(images) // TOLD_FROM)][:TOLD_FROM]
    falling = rain(chosen)
    return [jpeg.describe(jpeg_tables, chosen), *([] if falling is None else [falling.describe()])]


def _choose(
    bundle: Bundle,
    candidates: Mapping[str, Adapter],
    trials: Mapping[str, Trial],
    matched: Pairs | None,
    identity: Adapter,
    gate_images: Sequence[ImageArray],
    target_images: int,
    seed: int,
    toning: Toning,
) -> tuple[Adapter, Evidence]:
    """The most promising candidate among those that pass the standard gate.

    None passes: the best one is published with its evidence, so that people see what was refused.
    None even gains: the identity, and the domain keeps the base model.
    """
    device = bundle.model.enter.weight.device
    images = [gate_view(image) for image in gate_images]
    source = source_pairs(bundle, SOURCE_PAIRS, CROP, seed, identity.tone)
    yardstick = Yardstick(
        bundle, matched or source, source, [image.to(device) for image in images], target_images, seed, toning
    )
    policy = GatePolicy()
    refused: tuple[Adapter, Evidence] | None = None
    for name in by_promise(trials, WORTH_TRYING_DB)[:MEASURED_CANDIDATES]:
        evidence = yardstick.measure(candidates[name])
        if judge(evidence, policy).verdict == "PASSED":
            return candidates[name], evidence
        refused = refused or (candidates[name], evidence)
    return refused or (identity, yardstick.measure(identity))
